"""The disk guard's hands: a thread that looks, steps :mod:`thermal.protect.disk` and does what that says.

A thread of its own, for all of it may hang with the disk. Its phase lies in the run folder, so a restarted service
knows that it was itself who made the disk read-only; after a reboot the disk is what fstab says.
"""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Protocol

from thermal.protect import retention
from thermal.protect.disk import (
    Action,
    DiskSettings,
    DiskState,
    Look,
    Phase,
    Remount,
    Say,
    Trim,
    Units,
    step,
)
from thermal.protect.quiet import end_quiet, write_quiet
from touchline.errors import TouchlineError
from touchline.run import run

MEMORY: Final = "disk.json"
_UNITS_S: Final = 150.0  # the agent drains for up to 120 s
_LOG: Final = logging.getLogger("thermal.protect")
_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "alarm": logging.ERROR}


class GuardedDisk(Protocol):
    """See :class:`thermal.protect.mount.Mount`."""

    target: str

    def look(self) -> Look: ...

    def remount(self, read_only: bool) -> str: ...

    def holds(self, path: Path) -> bool: ...


@dataclass(frozen=True, slots=True)
class Keeping:
    """What the keeper works with. ``say``: takes an event; ``recordings``: None where nothing may go."""

    run_dir: Path
    settings: DiskSettings
    say: Callable[[dict[str, Any]], None]
    recordings: Path | None = None
    keep_files: int = 4
    units: tuple[str, ...] = ()


class DiskKeeper:
    """:meth:`turn` is one look; ``look`` and ``state`` are what was seen and decided last."""

    def __init__(self, disk: GuardedDisk, keeping: Keeping, clock: Callable[[], int]) -> None:
        self.disk = disk
        self.state = self._remembered(keeping.run_dir, disk.target, clock())
        self.look = Look(None, trouble="not looked yet")
        self.deleted = 0
        self.turned_ns = clock()
        self._keeping, self._clock = keeping, clock
        self._trim_empty, self._remount = False, ""
        self._unwritten = ""

    def turn(self) -> None:
        """Look, decide, act."""
        now_ns = self._clock()
        self.look = replace(self.disk.look(), trim_empty=self._trim_empty, remount=self._remount)
        before = self.state
        self.state, actions = step(self._keeping.settings, before, self.look, now_ns)
        if self.state.phase is not before.phase:
            self._trim_empty, self._remount = False, ""
        self._tell_writers(now_ns)
        self._remember()
        for action in actions:
            self._do(action)
        self.turned_ns = self._clock()

    def run(self, over: threading.Event, every_s: float) -> None:
        """Turn until told to stop."""
        while True:
            self.turn()
            if over.wait(every_s):
                return

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {
            "mount": self.disk.target,
            "phase": self.state.phase.value,
            "used_pct": None if self.look.used_pct is None else round(self.look.used_pct, 2),
            "read_only": self.look.read_only,
            "trouble": self.look.trouble or self.look.remount or self._unwritten,
            "deleted": self.deleted,
        }

    # --- doing --------------------------------------------------------------------------------------------------------

    def _do(self, action: Action) -> None:
        match action:
            case Say():
                self._say(action)
            case Trim():
                self._trim(action.want_bytes)
            case Remount():
                self._remount = self.disk.remount(action.read_only)
            case Units():
                self._units(action.stop)

    def _say(self, say: Say) -> None:
        _LOG.log(_LEVELS[say.severity], "%s: %s", self.disk.target, say.text)
        self._keeping.say({"kind": say.code, "severity": say.severity, "mount": self.disk.target, "text": say.text})

    def _trim(self, want_bytes: int) -> None:
        folder, self._trim_empty = self._keeping.recordings, True
        if folder is None or not self.disk.holds(folder):
            return
        freed, count = 0, 0
        try:
            for one in retention.expendable(retention.shelves(folder), self._keeping.keep_files, want_bytes):
                one.path.unlink(missing_ok=True)
                freed, count = freed + one.size, count + 1
        except OSError as error:
            self._say(Say("warning", "disk_trim_failed", str(error)))
        self.deleted += count
        self._trim_empty = count == 0
        if count:
            self._say(Say("warning", "disk_deleted", f"{count} recordings, {freed >> 20} MiB, those made first"))

    def _units(self, stop: bool) -> None:
        for unit in self._keeping.units:
            try:
                run(["systemctl", "stop" if stop else "start", unit], timeout_s=_UNITS_S)
            except TouchlineError as error:
                self._say(Say("alarm", "disk_units", error.message))

    def _tell_writers(self, now_ns: int) -> None:
        self._unwritten = ""
        try:
            if self.state.quiet:
                write_quiet(self._keeping.run_dir, self.disk.target, f"{self.disk.target} is full", now_ns)
            else:
                end_quiet(self._keeping.run_dir)
        except OSError as error:
            self._unwritten = f"writers cannot be told: {error}"

    # --- memory -------------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        path = self._keeping.run_dir / MEMORY
        body = {"target": self.disk.target, "phase": self.state.phase.value, "units": self.state.units}
        try:
            beside = path.with_name(f"{MEMORY}.new")
            beside.write_text(json.dumps(body), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            self._unwritten = f"the phase cannot be kept: {error}"

    @staticmethod
    def _remembered(run_dir: Path, target: str, now_ns: int) -> DiskState:
        try:
            body = json.loads((run_dir / MEMORY).read_text(encoding="utf-8"))
            if body["target"] == target:
                return DiskState(Phase(body["phase"]), now_ns, units=bool(body["units"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # the first start since the boot
        return DiskState(since_ns=now_ns)
