"""PTP hardware clocks: two linked netdevsim ports in two namespaces of the guest, made on demand (CLK-1)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hil.virtual.devices.registers import one_of, within
from hil.virtual.ports import Guest
from touchline.errors import HardwareError

_PARAMETERS: Final = "/sys/module/netdevsim/parameters"
_PHC: Final = re.compile(r"(?:PTP Hardware Clock|Hardware timestamp provider index): (\d+)")

_BUILD: Final = """set -e
modprobe netdevsim
n=0
for ns in ptp-a ptp-b; do
n=$((n + 1))
[ -e /run/netns/$ns ] || ip netns add $ns
if ! ip -n $ns link show ptp0 >/dev/null 2>&1; then
echo "$n 1" > /sys/bus/netdevsim/new_device
udevadm settle -t 10
for card in /sys/bus/netdevsim/devices/netdevsim$n/net/*; do card=${card##*/}; done
ip link set $card down
ip link set $card name ptp0 netns $ns
fi
ip -n $ns link set lo up
ip -n $ns link set ptp0 up
ip -n $ns address replace 192.0.2.$n/30 dev ptp0
done
exec 3</run/netns/ptp-a 4</run/netns/ptp-b
a=$(ip netns exec ptp-a cat /sys/class/net/ptp0/ifindex)
b=$(ip netns exec ptp-b cat /sys/class/net/ptp0/ifindex)
[ -e /run/touchline-hil-ptp ] || echo "3:$a 4:$b" > /sys/bus/netdevsim/link_device
: > /run/touchline-hil-ptp"""
_REMOVE: Final = """[ -e /run/touchline-hil-ptp ] || exit 0
for n in 1 2; do echo $n > /sys/bus/netdevsim/del_device; done
ip netns del ptp-a
ip netns del ptp-b
rm -f /run/touchline-hil-ptp"""


@dataclass(frozen=True, slots=True)
class Port:
    """Where a PTP daemon runs: ``ip netns exec <namespace> ptp4l -i <interface> -H -2``."""

    namespace: str
    interface: str


PORTS: Final = {"a": Port("ptp-a", "ptp0"), "b": Port("ptp-b", "ptp0")}


class Ptp:
    """Ports a and b, back to back, each with its own clock. Addresses 192.0.2.1/30 and 192.0.2.2/30.

    Both clocks run from the guest's own time base: equal rates, any offset. Delay and asymmetry are added to the
    receive stamps, so the true offset of the two clocks is known while the daemons see another.
    """

    def __init__(self, guest: Guest) -> None:
        self._guest = guest

    def build(self) -> Mapping[str, Port]:
        """Make the pair, ``a`` and ``b``; nothing happens when it is there."""
        self._guest.run(_BUILD, timeout_s=60.0)
        return PORTS

    def remove(self) -> None:
        """Take the pair and its namespaces away."""
        self._guest.run(_REMOVE)

    def link_delay_ns(self, delay_ns: int) -> None:
        """Delay of the cable, the same both ways."""
        self._parameter("hil_link_delay_ns", int(within("ptp link delay", delay_ns, 0, 1_000_000_000, "ns")))

    def asymmetry_ns(self, asymmetry_ns: int) -> None:
        """Delay added towards port b only: a follower there is off by half of it and cannot know."""
        limit = 1_000_000_000
        self._parameter("hil_asym_ns", int(within("ptp asymmetry", asymmetry_ns, -limit, limit, "ns")))

    def jitter_ns(self, jitter_ns: int) -> None:
        """A random part of the delay, 0 up to this, new for each frame."""
        self._parameter("hil_jitter_ns", int(within("ptp jitter", jitter_ns, 0, 1_000_000_000, "ns")))

    def lose_tx_stamps(self, lost: bool = True, *, port: str = "both") -> None:
        """Transmit stamps of port ``a``, ``b`` or ``both`` do not come: ptp4l reports tx timeouts and a fault."""
        self._parameter("hil_drop_tx_ts", _mask(port) if lost else 0)

    def lose_rx_stamps(self, lost: bool = True, *, port: str = "both") -> None:
        """Frames arrive at port ``a``, ``b`` or ``both`` without a hardware stamp."""
        self._parameter("hil_drop_rx_ts", _mask(port) if lost else 0)

    def phc_path(self, port: str = "b") -> str:
        """The clock's device, ``/dev/ptp<n>``, of port ``a`` or ``b``."""
        where = PORTS[one_of("ptp port", port, tuple(PORTS))]
        out = self._guest.run(f"ip netns exec {where.namespace} ethtool -T {where.interface}").out
        found = _PHC.search(out)
        if found is None:
            raise HardwareError(
                f"{where.interface} in {where.namespace} has no hardware clock", hint="call ptp.build() first"
            )
        return f"/dev/ptp{found[1]}"

    def step_phc_ns(self, step_ns: int, port: str = "b") -> None:
        """Move a clock at once, as the Orin driver does when stamping is re-enabled."""
        limit = 10**18
        within("ptp step", step_ns, -limit, limit, "ns")
        sign, amount = ("-" if step_ns < 0 else ""), abs(int(step_ns))
        seconds = f"{sign}{amount // 10**9}.{amount % 10**9:09d}"
        self._guest.run(f"phc_ctl {self.phc_path(port)} -- adj {seconds}")

    def offset_ns(self) -> int:
        """True time of port b's clock minus port a's, as the guest reads both; good to the time between two reads."""
        first, second = self.phc_path("a"), self.phc_path("b")
        out = self._guest.run(f"python3 /usr/local/lib/touchline-hil/phc_offset {first} {second}").out
        return int(out)

    def _parameter(self, name: str, value: int) -> None:
        self._guest.run(f"modprobe netdevsim && echo {value} > {_PARAMETERS}/{name}")


def _mask(port: str) -> int:
    """Bits of the netdevsim devices of a port: 1 is a, 2 is b."""
    return {"a": 0b010, "b": 0b100, "both": 0b110}[one_of("ptp port", port, (*PORTS, "both"))]
