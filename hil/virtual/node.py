"""One virtual node: its machine, its devices by their handles, and the agent that rides in it."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from hil.virtual.devices import Devices, attach, power_on
from hil.virtual.handles import Handles
from hil.virtual.image import Image
from hil.virtual.machine.console import Finding, findings
from hil.virtual.machine.machine import BOOT_S, Machine
from hil.virtual.machine.network import Network
from hil.virtual.machine.power import PowerCut
from hil.virtual.machine.qemu import CARD, UART_SOCKET, MachineSpec
from hil.virtual.machine.snapshot import Snapshot
from hil.virtual.passenger.provision import await_agent
from hil.virtual.passenger.seat import RUN_DIR, UNIT, Passenger
from hil.virtual.ports import Guest, GuestResult
from touchline.errors import HardwareError

if TYPE_CHECKING:
    from hil.virtual.rack import VirtualRack
    from hil.virtual.site import VirtualSite

MACS: Final = {"a": "52:54:00:77:00:0b", "b": "52:54:00:77:00:0c"}
ADDRESSES: Final = {"a": "10.77.0.11", "b": "10.77.0.12"}
_FAILED_UNITS: Final = "=== failed units\n"
_LOOK: Final = (
    "dmesg --notime 2>/dev/null || journalctl -k -b -o cat --no-pager; "
    f"printf '{_FAILED_UNITS[:-1]}\\n'; systemctl list-units --state=failed --plain --no-legend"
)


def machine_spec(image: Image, seat: str, run_dir: Path) -> MachineSpec:
    """The machine of a seat on an image."""
    return MachineSpec(
        seat=seat,
        kernel=image.kernel,
        initrd=image.initrd,
        root_img=image.root_img,
        dtb=image.dtb,
        run_dir=run_dir,
        image_id=image.image_id,
        mac=MACS[seat],
    )


class VirtualNode(Handles):
    """A node on the virtual network, with its devices' handles as attributes."""

    def __init__(self, machine: Machine, passenger: Passenger) -> None:
        self.machine, self.passenger = machine, passenger
        self.site: VirtualSite | None = None
        self._devices: Devices | None = None

    @property
    def rack(self) -> VirtualRack:
        """Broker and aggregator of the site this node stands in."""
        assert self.site is not None, "this node stands alone"
        return self.site.rack

    @property
    def name(self) -> str:
        """Host name in the guest, and the node's name in its records."""
        return self.passenger.name

    @property
    def address(self) -> str:
        """IPv4 address on the virtual network."""
        return ADDRESSES[self.passenger.seat]

    @property
    def guest(self) -> Guest:
        """Shell and files inside, through a channel that no network fault cuts."""
        return self.machine.guest

    @property
    def devices(self) -> Devices:
        """Every handle of this power-on."""
        if self._devices is None:
            machine = self.machine
            self._devices = attach(
                machine.guest,
                machine.registers,
                machine.monitor,
                machine.run_dir / UART_SOCKET,
                event_names=lambda: [event.name for event in machine.events],
                card_id=CARD,
            )
        return self._devices

    # --- power ---

    def boot(self, timeout_s: float = BOOT_S) -> None:
        """Power on; returns when the guest answers (the agent may still be starting)."""
        self.power_on()
        self.machine.wait_guest(timeout_s)

    def power_on(self) -> None:
        """Power on with every sensor at rest (an idle node at 40 C), and do not wait."""
        self._forget_devices()
        self.machine.start()
        power_on(self.devices)

    def restore(self, frozen: Snapshot) -> None:
        """Power on as it was when the snapshot was made; the clock is the host's."""
        self.begin_restore(frozen)
        self.finish_restore()

    def begin_restore(self, frozen: Snapshot) -> None:
        """Power on from the snapshot and do not wait: :meth:`finish_restore` does."""
        self._forget_devices()
        self.machine.begin_restore(frozen)

    def finish_restore(self) -> None:
        """Return when the guest answers and has the host's time."""
        self.machine.finish_restore()

    def power_cut(self, seed: int = 0) -> PowerCut:
        """Pull the plug: the data disk loses what was not flushed, by ``seed``. :meth:`boot` puts the power back."""
        self._forget_devices()
        return self.machine.power_cut(seed)

    def wait_boot(self, number: int, timeout_s: float = BOOT_S) -> None:
        """Return when the guest answers in boot ``number`` of this power-on (a watchdog's reset begins the second)."""
        self._forget_devices()
        self.machine.wait_boot(number, timeout_s)

    def close(self) -> None:
        """Off, by pid."""
        self._forget_devices()
        self.machine.close()

    # --- inside ---

    def run(self, command: str, *, timeout_s: float = 30.0, check: bool = True) -> GuestResult:
        """Run a shell command as root in the guest."""
        return self.guest.run(command, timeout_s=timeout_s, check=check)

    def await_agent(self, timeout_s: float = BOOT_S) -> None:
        """Return when the agent's unit is active, which means that frames flow."""
        await_agent(self.guest, timeout_s, self.machine.check)

    def agent_status(self) -> dict[str, Any]:
        """What the agent says of itself (its status file); empty before its first."""
        try:
            document = json.loads(self.guest.read_file(f"{RUN_DIR}/agent-status.json"))
        except (HardwareError, ValueError):  # not there yet
            return {}
        return document if isinstance(document, dict) else {}

    def unit(self, *properties: str) -> dict[str, str]:
        """Properties of the agent's unit, as ``systemctl show`` prints them."""
        shown = self.run(f"systemctl show {UNIT} --property={','.join(properties)}").out
        return dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)

    def journal(self, lines: int = 200, unit: str | None = None) -> str:
        """The end of the guest's journal."""
        chosen = f"--unit={unit}" if unit else ""
        return self.run(f"journalctl --no-pager -o short-precise -n {lines} {chosen}", check=False).out

    def troubles(self, allow: Collection[str] = ()) -> list[str]:
        """What no test may leave behind: warnings of the guest's kernel, failed units.

        ``allow``: kinds of :class:`Trouble` (``"panic"``) and parts of the line itself.
        """
        log, _, failed = self.run(_LOOK, check=False).out.partition(_FAILED_UNITS)
        seen = [*findings(log), *self.machine.console.findings()]
        found = [f"kernel {item.trouble.value}: {item.text}" for item in seen if not _allowed(item, allow)]
        return found + [f"failed unit: {line.split()[0]}" for line in failed.splitlines() if line.strip()]

    def _forget_devices(self) -> None:
        if self._devices is not None:
            self._devices.uart.close()
        self._devices = None


def _allowed(finding: Finding, allow: Collection[str]) -> bool:
    return any(one == finding.trouble.value or one in finding.text for one in allow)


def plugged(
    image: Image, passenger: Passenger, folder: Path, network: Network, *, detached: bool = False
) -> VirtualNode:
    """A node of ``passenger``'s seat, off, its cable in ``network``."""
    spec = machine_spec(image, passenger.seat, folder / passenger.name)
    return VirtualNode(Machine(spec, network=network, detached=detached), passenger)
