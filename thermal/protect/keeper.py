"""The disk guard's hands: a thread that looks, steps :mod:`thermal.protect.disk` and does what that says.

A thread of its own, for all of it may hang with the disk. Its phase lies in the run folder, so a service started anew
after a crash knows that it was itself who made the disk read-only, and goes on; one that is stopped gives back what it
took. After a reboot the disk is what fstab says.
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
from thermal.whole import write_whole
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
        self.look = Look(None)  # a first look that hangs is an alarm by its age
        self.deleted = 0
        self.turned_ns = clock()
        self._keeping, self._clock = keeping, clock
        self._trim_empty, self._remount = False, ""
        self._untold, self._unkept, self._broken = "", "", ""

    def turn(self) -> None:
        """Look, decide, act."""
        now_ns = self._clock()
        self.look = replace(self.disk.look(), trim_empty=self._trim_empty, remount=self._remount)
        before = self.state
        self.state, actions = step(self._keeping.settings, before, self.look, now_ns)
        if self.state.phase is not before.phase:
            self._trim_empty, self._remount = False, ""
        self._remember()
        for action in actions:
            self._go_on()
            self._do(action)
        self._go_on()
        self._broken = ""

    def run(self, over: threading.Event, every_s: float) -> None:
        """Turn until told to stop."""
        while True:
            try:
                self.turn()
            except OSError as error:  # no process can be forked, no file opened: the next look may do better
                self._broken = f"a look at it broke off: {error}"
            if over.wait(every_s):
                return

    def release(self) -> None:
        """The service stops: give back what it took, for nobody else would; or the next start takes it over."""
        if not self.state.quiet:
            return
        trouble = self.disk.remount(False) if self.disk.look().read_only else ""
        if trouble:
            self._say(Say("alarm", "disk_kept", f"the service stops and leaves it read-only: {trouble}"))
            return
        stopped, self.state = self.state.units, DiskState(since_ns=self._clock())
        self._go_on()
        self._remember()
        self._say(Say("warning", "disk_released", "the service stops: writable, and nothing guards it"))
        if stopped:
            self._units(False, "--no-block")

    def document(self) -> dict[str, Any]:
        """For the status."""
        return {
            "mount": self.disk.target,
            "phase": self.state.phase.value,
            "used_pct": None if self.look.used_pct is None else round(self.look.used_pct, 2),
            "read_only": self.look.read_only,
            "trouble": self._broken or self.look.trouble or self.look.remount or self._untold or self._unkept,
            "deleted": self.deleted,
        }

    # --- doing --------------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        """Stamp the word to writers, and that we live: an action may take minutes, and the word would run out."""
        self.turned_ns = self._clock()
        self._tell_writers(self.turned_ns)

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
        """Delete until so many bytes are free or the disk is at its mark: somebody else may be making room too."""
        folder, self._trim_empty = self._keeping.recordings, True
        if folder is None or not self.disk.holds(folder):
            return
        freed, count = 0, 0
        try:
            for one in retention.expendable(retention.shelves(folder), self._keeping.keep_files, want_bytes):
                used_pct = self.disk.look().used_pct
                if used_pct is None or used_pct <= self._keeping.settings.clear_pct:
                    break
                retention.delete(folder, one)
                freed, count = freed + one.size, count + 1
        except OSError as error:
            self._say(Say("warning", "disk_trim_failed", str(error)))
        self.deleted += count
        self._trim_empty = count == 0
        if count:
            self._say(Say("warning", "disk_deleted", f"{count} recordings, {freed >> 20} MiB, those made first"))

    def _units(self, stop: bool, *options: str) -> None:
        for unit in self._keeping.units:
            self._go_on()
            try:
                run(["systemctl", *options, "stop" if stop else "start", unit], timeout_s=_UNITS_S)
            except TouchlineError as error:
                self._say(Say("alarm", "disk_units", error.message))

    def _tell_writers(self, now_ns: int) -> None:
        self._untold = ""
        try:
            if self.state.quiet:
                write_quiet(self._keeping.run_dir, self.disk.target, f"{self.disk.target} is full", now_ns)
            else:
                end_quiet(self._keeping.run_dir)
        except OSError as error:
            self._untold = f"writers cannot be told: {error}"

    # --- memory -------------------------------------------------------------------------------------------------------

    def _remember(self) -> None:
        body = {"target": self.disk.target, "phase": self.state.phase.value, "units": self.state.units}
        try:
            write_whole(self._keeping.run_dir / MEMORY, json.dumps(body).encode())
            self._unkept = ""
        except OSError as error:
            self._unkept = f"the phase cannot be kept: {error}"

    @staticmethod
    def _remembered(run_dir: Path, target: str, now_ns: int) -> DiskState:
        try:
            body = json.loads((run_dir / MEMORY).read_text(encoding="utf-8"))
            if body["target"] == target:
                return DiskState(Phase(body["phase"]), now_ns, units=bool(body["units"]))
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            pass  # the first start since the boot
        return DiskState(since_ns=now_ns)
