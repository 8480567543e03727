"""One virtual machine: boot it, talk to it, cut its power, freeze it, bring it back."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final

from hil.virtual.machine import disks, power, snapshot
from hil.virtual.machine.clock import set_clock
from hil.virtual.machine.console import Console, Finding, Trouble, fatal
from hil.virtual.machine.guest_agent import GuestAgent
from hil.virtual.machine.link import LinkClosed
from hil.virtual.machine.memory import MappedRegisters
from hil.virtual.machine.monitor import Event, Qmp
from hil.virtual.machine.network import Network
from hil.virtual.machine.power import PowerCut
from hil.virtual.machine.process import QemuProcess
from hil.virtual.machine.qemu import (
    AGENT_SOCKET,
    CARD,
    CONSOLE_LOG,
    QMP_SOCKET,
    MachineSpec,
    find_qemu,
    has_tap,
    qemu_argv,
)
from hil.virtual.machine.snapshot import Snapshot
from hil.virtual.machine.state import load_spec, save_spec
from touchline.errors import HardwareError, ResourceError, TouchlineError
from touchline.timeline import monotonic_ns, sleep_until, utc_text

BOOT_S: Final = 180.0  # measured 6 s alone; other machines may be busy
RESTORE_S: Final = 60.0  # measured under 1 s alone
_MONITOR_S: Final = 20.0
_QUIT_S, _DYING_S = 5.0, 1.0
_SLICE_S: Final = 0.25
_POLL_NS: Final = 10_000_000


class Machine:
    """A node of emulated hardware in ``spec.run_dir``. Use as a context manager: its end ends QEMU.

    ``network``: where its card is plugged in; None leaves it without carrier. ``detached``: QEMU outlives the process
    that starts it (end it with :meth:`attach` and :meth:`close`).
    """

    def __init__(self, spec: MachineSpec, *, network: Network | None = None, detached: bool = False) -> None:
        self.spec = spec
        self.network = network
        self.detached = detached
        self.console = Console(spec.run_dir / CONSOLE_LOG)
        self.guest = GuestAgent(spec.run_dir / AGENT_SOCKET)
        self.boots = 0  # of this QEMU: 1 after its start, one more for each reset
        self._process: QemuProcess | None = None
        self._monitor: Qmp | None = None
        self._registers: MappedRegisters | None = None
        self._events_seen = 0

    @classmethod
    def attach(cls, run_dir: Path, *, network: Network | None = None) -> Machine:
        """The machine that runs detached in ``run_dir``; its boots count from now. HardwareError if it is off.

        ``network`` is only needed to start it again.
        """
        machine = cls(load_spec(run_dir), network=network, detached=True)
        machine._process = QemuProcess.find(run_dir)
        if machine._process is None:
            raise HardwareError(f"no node runs in {run_dir}", hint="boot it first")
        machine._connect()
        machine.console.resume()
        return machine

    # --- what it is made of ---

    @property
    def run_dir(self) -> Path:
        """Where its disks, sockets and logs lie."""
        return self.spec.run_dir

    @property
    def pid(self) -> int | None:
        """Process id of QEMU while it runs."""
        return self._process.pid if self._process is not None and self._process.running() else None

    @property
    def monitor(self) -> Qmp:
        """QEMU's machine protocol."""
        if self._monitor is None:
            raise HardwareError(f"node {self.spec.seat} is off", hint="boot it first")
        return self._monitor

    @property
    def registers(self) -> MappedRegisters:
        """The reserved megabyte of the running QEMU; the next boot has another, so do not keep it."""
        if self._registers is None:
            raise HardwareError(f"node {self.spec.seat} is off", hint="boot it first")
        return self._registers

    @property
    def events(self) -> list[Event]:
        """What QEMU reported since its start."""
        self.monitor.poll()
        return self.monitor.events

    # --- on ---

    def boot(self, timeout_s: float = BOOT_S) -> None:
        """Cold start; returns when the guest answers. Disks of an earlier boot in the run folder are kept."""
        self.start()
        self._or_close(lambda: self.wait_guest(timeout_s))

    def start(self) -> None:
        """Cold start without waiting for the guest: registers can be set before its drivers look."""
        self._require_off()
        disks.prepare(self.spec)
        self._launch(None)

    def restore(self, frozen: Snapshot, timeout_s: float = RESTORE_S) -> None:
        """Start from a snapshot; returns when the guest answers and has the host's time.

        Raises InputError with the remedy if it was made with another QEMU, image, seat or set of devices.
        """
        self.begin_restore(frozen)
        self.finish_restore(timeout_s)

    def begin_restore(self, frozen: Snapshot) -> None:
        """Start from a snapshot and do not wait: :meth:`finish_restore` does."""
        self._require_off()
        frozen.check(self.spec, qemu=find_qemu().text, plugged=self.network is not None)
        incoming = snapshot.thaw(frozen, self.spec)
        disks.begin_log(self.run_dir)
        self._launch(incoming)

    def finish_restore(self, timeout_s: float = RESTORE_S) -> None:
        """Return when the guest answers and has the host's time."""
        self._or_close(lambda: self._finish_restore(timeout_s))

    def wait_guest(self, timeout_s: float = BOOT_S) -> None:
        """Return when the guest answers; a kernel panic, QEMU's death or a power-off raises HardwareError at once."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while True:
            self.check()
            try:
                if self.guest.try_sync(_SLICE_S):
                    return
            except LinkClosed:
                self.guest.close()
                continue  # check() says why
            if monotonic_ns() > deadline_ns:
                raise HardwareError(self._with_console(f"the guest did not answer within {timeout_s:g} s"))

    def check(self) -> None:
        """Raise HardwareError, with the last console lines, if QEMU has ended or the guest's kernel is dead."""
        self.require_running()
        found = fatal(self.console.findings())
        if found is not None:
            raise HardwareError(self._with_console(_dead(found)))

    def require_running(self) -> None:
        """Take in QEMU's events; raise HardwareError if it has ended."""
        if self._process is None:
            raise HardwareError(f"node {self.spec.seat} is off", hint="boot it first")
        try:
            self.monitor.poll()
        except LinkClosed:
            self._process.wait(_QUIT_S)
        self._take_events()
        if not self._process.running():
            raise self._death(self._process)

    def wait_boot(self, number: int, timeout_s: float = BOOT_S) -> None:
        """Return when the guest answers in boot ``number`` of this QEMU (every reset begins one)."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        self.require_running()
        while self.boots < number:
            if monotonic_ns() > deadline_ns:
                raise HardwareError(self._with_console(f"no reset within {timeout_s:g} s: still in boot {self.boots}"))
            self.monitor.poll(_SLICE_S)
            self.require_running()
        self.wait_guest(max((deadline_ns - monotonic_ns()) / 1e9, 1.0))

    # --- while it runs ---

    def reset(self) -> None:
        """The reset button: the guest starts again at once, nothing is flushed. Follow with :meth:`wait_boot`."""
        self.monitor("system_reset")
        self.guest.close()

    def set_link(self, up: bool) -> None:
        """Plug the network cable in or out, as the guest's card sees it."""
        self.monitor("set_link", name=CARD, up=up)

    def set_clock(self) -> None:
        """Set the guest's clock to the host's within 10 ms; it steps."""
        set_clock(self.guest, self.spec.seat)

    def last_reset(self) -> str | None:
        """Why the guest was last reset: ``watchdog``, or QEMU's word (``guest-reset``, ``host-qmp-system-reset``)."""
        reason, barked = None, False
        for event in self.events:
            if event.name == "WATCHDOG":
                barked = True
            elif event.name == "RESET":
                reason, barked = "watchdog" if barked else str(event.data.get("reason", "unknown")), False
        return reason

    def snapshot(self, folder: Path) -> Snapshot:
        """Freeze it into ``folder``, which must not exist, and go on; the guest loses the time that took."""
        self.check()
        self.monitor("stop")
        try:
            frozen = snapshot.freeze(
                self.monitor,
                self.spec,
                folder,
                plugged=self._process is not None and has_tap(self._process.argv()),
                qemu=find_qemu().text,
                created_utc=utc_text(),
                running=self._is_running,
            )
        finally:
            if self._is_running():
                self.monitor("cont")
        self.set_clock()
        return frozen

    # --- off ---

    def shutdown(self, timeout_s: float = 30.0) -> bool:
        """Power off as systemd does; after ``timeout_s`` QEMU is ended all the same. False: that was needed."""
        if self._process is None:
            return False
        try:
            self.guest.shutdown()
            return self._process.wait(timeout_s)
        finally:
            self.close()

    def close(self) -> None:
        """End QEMU, whatever the guest is doing (its disks are flushed). Safe to call twice."""
        process, self._process = self._process, None
        if process is not None and process.running():
            try:
                if self._monitor is not None:
                    self._monitor.quit()
                    process.wait(_QUIT_S)
            except HardwareError:
                pass  # it hangs: the signals below end it
            finally:
                process.end()
        self._hang_up()

    def kill(self) -> None:
        """SIGKILL: the guest stops between two instructions; what it wrote is kept (the host's cache survives)."""
        if self._process is not None:
            self._process.kill()
        self._process = None
        self._hang_up()

    def power_cut(self, seed: int) -> PowerCut:
        """Take the power away: :meth:`kill`, and the data disk loses what was not flushed; then :meth:`boot` again."""
        if self._process is None:
            raise HardwareError(f"node {self.spec.seat} is off already")
        self.kill()
        return power.cut(self.run_dir, seed)

    def leave(self) -> None:
        """Let go of a detached machine: it runs on, :meth:`attach` finds it again."""
        self._process = None
        self._hang_up()

    def __enter__(self) -> Machine:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    # --- inside ---

    def _require_off(self) -> None:
        if self._process is not None and self._process.running():
            raise HardwareError(f"node {self.spec.seat} runs already")
        found = QemuProcess.find(self.run_dir)
        if found is not None:
            raise ResourceError(f"a node runs in {self.run_dir} (pid {found.pid})", hint="destroy it first")

    def _launch(self, incoming: str | None) -> None:
        qemu = find_qemu()
        save_spec(self.spec)
        self.console.mark()
        tap = None if self.network is None else self.network.open_tap(self.spec.seat)
        try:
            argv = qemu_argv(self.spec, tap_fd=tap, incoming=incoming, program=qemu.program)
            fds = () if tap is None else (tap,)
            self._process = QemuProcess.start(argv, self.run_dir, pass_fds=fds, detached=self.detached)
        finally:
            if tap is not None:
                os.close(tap)
        self._or_close(self._connect)

    def _connect(self) -> None:
        assert self._process is not None
        process = self._process

        def check() -> None:
            if not process.running():
                raise process.why()

        try:
            self._monitor = Qmp(self.run_dir / QMP_SOCKET, timeout_s=_MONITOR_S, check=check)
            self._registers = MappedRegisters(process.pid)
        except HardwareError:
            if process.wait(_DYING_S):
                raise process.why() from None
            raise
        self.boots, self._events_seen = 1, 0

    def _finish_restore(self, timeout_s: float) -> None:
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        try:
            while (status := self.monitor("query-status")["status"]) == "inmigrate":
                if monotonic_ns() > deadline_ns:
                    raise HardwareError(f"the snapshot did not load within {timeout_s:g} s")
                sleep_until(monotonic_ns() + _POLL_NS)
            if status != "running":
                self.monitor("cont")
        except LinkClosed:
            self.require_running()
            raise
        self.wait_guest(timeout_s)
        self.set_clock()

    def _or_close(self, step: Callable[[], None]) -> None:
        try:
            step()
        except BaseException:  # an interrupt too: nothing may run on
            self.close()
            raise

    def _is_running(self) -> bool:
        return self._process is not None and self._process.running()

    def _take_events(self) -> None:
        events = self.monitor.events
        for event in events[self._events_seen :]:
            if event.name == "RESET":
                self.boots += 1
                self.console.mark()
                self.guest.close()
        self._events_seen = len(events)

    def _death(self, process: QemuProcess) -> TouchlineError:
        off = next((event for event in self.monitor.events if event.name == "SHUTDOWN"), None)
        if off is not None and off.data.get("guest"):
            return HardwareError(self._with_console("the guest powered off"))
        why = process.why()
        return type(why)(self._with_console(why.message), hint=why.hint)

    def _with_console(self, what: str) -> str:
        lines = self.console.last_lines()
        if not lines:
            return f"node {self.spec.seat}: {what}; the console is silent"
        return "\n  | ".join([f"node {self.spec.seat}: {what}; last console lines:", *lines])

    def _hang_up(self) -> None:
        self.guest.close()
        if self._monitor is not None:
            self._monitor.close()
        if self._registers is not None:
            self._registers.close()
        self._monitor = self._registers = None


def _dead(found: Finding) -> str:
    if found.trouble is Trouble.PANIC:
        return f"guest kernel panic: {found.text}"
    return f"the guest does not boot: {found.text}"
