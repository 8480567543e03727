"""The drill's cut on a real node: interfaces are switched off through netlink, and certainly on again.

Three hands restore, each alone would do: the drill itself when the time is over; a watchdog process
(:mod:`failover.guard`), started before the cut, when the drill's process ends in whatever way or the time is over by
``GUARD_SLACK_S``; and :func:`restore_leftover` at the next start, from the plan on disk, when both were killed.
What switching off makes the kernel forget (routes, IPv6 addresses) is part of the plan and put back.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from failover.actions.netlink import RTM_NEWADDR, RTM_NEWROUTE, NetlinkError, Rtnl
from failover.actions.routes import Kept, put_back, snapshot
from touchline.errors import HardwareError, LinkError, ResourceError, TouchlineError
from touchline.timeline import monotonic_ns, sleep_until

PLAN_FILE: Final = "drill-cut.json"
MAX_CUT_S: Final = 10.0
GUARD_SLACK_S: Final = 0.5
_START_S: Final = 10.0
_RESTORE_S: Final = 10.0
_RETRIES: Final = 20  # a tenth of a second between two: IPv6 may need the link's peer first
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Plan:
    """What was there before the cut. ``until_ns``: CLOCK_MONOTONIC at which the guard acts by itself."""

    links: tuple[tuple[int, str], ...]
    kept: tuple[Kept, ...]
    until_ns: int
    boot: str

    def dump(self) -> str:
        """As JSON."""
        kept = [[one.kind, one.body.hex()] for one in self.kept]
        return json.dumps({"links": self.links, "kept": kept, "until_ns": self.until_ns, "boot": self.boot})

    @staticmethod
    def load(text: str) -> Plan:
        """Read it back. Raises ValueError when it is none; whoever can write the folder gets no other change made."""
        try:
            said = json.loads(text)
            links = tuple((int(index), str(name)) for index, name in said["links"])
            kept = tuple(Kept(int(kind), bytes.fromhex(body)) for kind, body in said["kept"])
            plan = Plan(links, kept, int(said["until_ns"]), str(said["boot"]))
        except (KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"no plan of a cut: {error}") from error
        if any(one.kind not in (RTM_NEWADDR, RTM_NEWROUTE) for one in kept):
            raise ValueError("no plan of a cut: it would put back neither an address nor a route")
        if any(not 0 < index < 1 << 31 for index, _ in links):
            raise ValueError("no plan of a cut: an interface's number is out of range")
        return plan


@dataclass(frozen=True, slots=True)
class Restored:
    """How the restoring went: ``at_ns`` when the last interface was on again; ``trouble``: what could not be mended."""

    at_ns: int
    trouble: tuple[str, ...] = ()


def boot_id() -> str:
    """Which boot of this machine CLOCK_MONOTONIC and interface numbers belong to."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def apply_plan(plan: Plan) -> Restored:
    """Switch on again and put back. May be done twice; what cannot be mended is said, never raised."""
    trouble: list[str] = []
    with Rtnl() as rtnl:
        for index, name in plan.links:
            try:
                rtnl.switch(index, True)
            except OSError as error:
                trouble.append(f"{name} cannot be switched on: {error.strerror}")
        at_ns = monotonic_ns()
        refused: list[tuple[Kept, NetlinkError]] = []
        for attempt in range(_RETRIES):
            try:
                refused = put_back(rtnl, plan.kept if attempt == 0 else [one for one, _ in refused])
            except OSError as error:
                trouble.append(f"addresses and routes: {error}")
                break
            if not refused:
                break
            sleep_until(monotonic_ns() + 100_000_000)
    trouble += [f"a route or address was not taken back: {error.strerror}" for _, error in refused]
    return Restored(at_ns, tuple(trouble))


def restore_leftover(run_dir: Path) -> Restored | None:
    """Restore what a killed drill and its killed guard left; None when there is nothing. Call at every start.

    Does nothing while a guard may still be at work.
    """
    path = run_dir / PLAN_FILE
    try:
        plan = Plan.load(path.read_text())
    except FileNotFoundError:
        return None
    except PermissionError:
        return Restored(monotonic_ns(), (f"{path} is another user's: a drill of root is on, or was killed",))
    except ValueError:
        path.unlink(missing_ok=True)
        return Restored(monotonic_ns(), (f"{path} was damaged; look whether every interface is on",))
    if plan.boot == boot_id() and monotonic_ns() < plan.until_ns:
        return None
    restored = apply_plan(plan) if plan.boot == boot_id() else None  # after a reboot everything is on anyway
    path.unlink(missing_ok=True)
    return restored


class LinkCut:
    """Cuts and restores named interfaces. Needs CAP_NET_ADMIN.

    ``run_dir`` holds the plan meanwhile.
    """

    def __init__(self, interfaces: Sequence[str], run_dir: Path) -> None:
        if not interfaces:
            raise ResourceError(
                "no interface to cut is named", hint='set [failover] drill_interfaces, for example ["eth0"]'
            )
        self._interfaces = tuple(dict.fromkeys(interfaces))
        self._path = run_dir / PLAN_FILE
        self._plan: Plan | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    def prepare(self, max_s: float) -> str:
        """Start the guard, changing nothing; returns what will be cut. Raises when the cut cannot be certain to end."""
        if not 0 < max_s <= MAX_CUT_S:
            raise ValueError(f"a cut of {max_s:g} s: more than 0, at most {MAX_CUT_S:g}")
        restore_leftover(self._path.parent)
        with self._open() as rtnl:
            links = {link.name: link for link in rtnl.links()}
            for name in self._interfaces:
                link = links.get(name)
                if link is None or not link.up:
                    state = "does not exist" if link is None else "is switched off already"
                    raise HardwareError(f"{name} {state}", hint="correct [failover] drill_interfaces (ip link)")
            chosen = tuple((links[name].index, name) for name in self._interfaces)
            kept = tuple(snapshot(rtnl, [index for index, _ in chosen]))
        until_ns = monotonic_ns() + round((_START_S + max_s + GUARD_SLACK_S) * 1e9)
        self._plan = Plan(chosen, kept, until_ns, boot_id())
        self._start_guard(max_s)
        return f"{', '.join(self._interfaces)} ({len(kept)} routes and addresses kept)"

    def cut(self) -> int:
        """Switch off; returns when the last one was, CLOCK_MONOTONIC. Raises with everything on again."""
        guard, plan = self._guard, self._plan
        if guard is None or plan is None or guard.stdin is None:
            raise RuntimeError("prepare() comes first")
        try:
            guard.stdin.write(b"cut\n")  # from now on its clock runs
            guard.stdin.flush()
            with self._open() as rtnl:
                for index, _ in plan.links:
                    rtnl.switch(index, False)
            return monotonic_ns()
        except (OSError, TouchlineError) as error:
            self.restore()
            if isinstance(error, TouchlineError):
                raise
            hint = "give the drill CAP_NET_ADMIN" if error.errno == 1 else "see dmesg"
            raise LinkError(f"the links cannot be switched off: {error.strerror}", hint=hint) from error

    def restore(self) -> Restored:
        """Switch on again: the guard does it; without its word we do. Idempotent."""
        guard, plan = self._guard, self._plan
        if guard is None or plan is None:
            return Restored(monotonic_ns())
        said = self._hear_guard(guard)
        if said is None:  # killed, or hung: its work is ours
            restored = apply_plan(plan)
            self._path.unlink(missing_ok=True)
        else:
            restored = Restored(int(said["at_ns"]), tuple(said["trouble"]))
        self._guard = self._plan = None
        return restored

    def _start_guard(self, max_s: float) -> None:
        plan = self._plan
        assert plan is not None
        if self._path.exists():
            raise ResourceError(f"{self._path} is there: another drill runs", hint="wait, or restore with the service")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(file, "w") as out:
                out.write(plan.dump())
        except OSError as error:
            raise ResourceError(f"{self._path}: {error.strerror}", hint="node.run_dir must be writable") from error
        argv = [sys.executable, "-m", "failover.guard", str(self._path), f"{max_s + GUARD_SLACK_S:g}"]
        self._guard = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        line = _read_line(self._guard, _START_S)
        if line != b"ready\n":
            self._guard.kill()
            self._guard.communicate()
            self._guard = self._plan = None
            self._path.unlink(missing_ok=True)
            raise ResourceError("the drill's guard does not start: nothing was cut", hint="python -m failover.guard")

    def _hear_guard(self, guard: subprocess.Popen[bytes]) -> Mapping[str, Any] | None:
        """Tell the guard to restore, and return its word; None when there is none."""
        assert guard.stdin is not None
        with contextlib.suppress(OSError):  # it has ended
            guard.stdin.close()
        line = _read_line(guard, _RESTORE_S)
        if guard.poll() is None and not line:
            guard.kill()
        guard.wait(_RESTORE_S)
        if guard.stdout is not None:
            guard.stdout.close()
        try:
            said = json.loads(line)
        except ValueError:
            return None
        return said if isinstance(said, dict) and "at_ns" in said and "trouble" in said else None

    def _open(self) -> Rtnl:
        try:
            return Rtnl()
        except OSError as error:
            raise ResourceError(f"no netlink socket: {error.strerror}", hint="allow AF_NETLINK in the unit") from error


def _read_line(process: subprocess.Popen[bytes], within_s: float) -> bytes:
    """The next line of its output; what there was of it when the process ended or was silent."""
    assert process.stdout is not None
    until_ns, line = monotonic_ns() + round(within_s * 1e9), b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while not line.endswith(b"\n") and monotonic_ns() < until_ns:
            if not selector.select((until_ns - monotonic_ns()) * 1e-9):
                break
            data = os.read(process.stdout.fileno(), 1)
            if not data:
                break
            line += data
    return line
