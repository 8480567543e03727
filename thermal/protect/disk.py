"""When /data fills up: retention, then writers quiesced, then read-only, and back. Pure (PRT-2).

``step(settings, state, look, now_ns) -> (state, actions)``. The kernel is the judge of whether writers are quiet: a
remount fails with EBUSY while any file is open for writing, so it is tried until it succeeds. What somebody else did
stays his: a file system that is read-only without us (errors=remount-ro) is never made writable, and one that a person
made writable to clear it is left so for ``open_ns``, with the writers still quiet. Between the limits nothing moves.

      open -> trimming -> quiet -> read_only -> returning -> open
                 \\          \\         | somebody made it writable
                  +-> open   +-> open  +-> lent -> open, or quiet again
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, Literal

TRIM_NS: Final = 60_000_000_000  # retention has so long
SLOW_NS: Final = 60_000_000_000  # a return that takes longer is an alarm


class Phase(str, Enum):
    """Where we are."""

    OPEN = "open"
    TRIMMING = "trimming"
    QUIET = "quiet"
    READ_ONLY = "read_only"
    RETURNING = "returning"
    LENT = "lent"


@dataclass(frozen=True, slots=True)
class DiskSettings:
    """Shares in %, as df counts them: of what users may have. ``stop_units``: whether there is anything to stop."""

    limit_pct: float = 90.0
    clear_pct: float = 85.0
    trims: bool = True
    quiesce_ns: int = 10_000_000_000
    open_ns: int = 600_000_000_000
    stop_units: bool = False


@dataclass(frozen=True, slots=True)
class Look:
    """What is so. ``used_pct`` None: cannot be told, for the reason in ``trouble``.

    ``trim_empty``: the last retention found nothing more that may go; ``remount``: how the last remount failed.
    """

    used_pct: float | None
    total_bytes: int = 0
    read_only: bool = False
    trim_empty: bool = False
    remount: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class DiskState:
    """``since_ns``: of the phase; ``said``: codes told once in this phase; ``units``: whether units are stopped."""

    phase: Phase = Phase.OPEN
    since_ns: int = 0
    said: frozenset[str] = frozenset()
    units: bool = False

    @property
    def quiet(self) -> bool:
        """Whether writers are to keep their files closed."""
        return self.phase not in (Phase.OPEN, Phase.TRIMMING)


@dataclass(frozen=True, slots=True)
class Trim:
    """Delete what may go until so many bytes are free again."""

    want_bytes: int


@dataclass(frozen=True, slots=True)
class Remount:
    """Make the file system read-only, or writable."""

    read_only: bool


@dataclass(frozen=True, slots=True)
class Units:
    """Stop the units of ``disk_stop_units``, or start them again."""

    stop: bool


@dataclass(frozen=True, slots=True)
class Say:
    """An event."""

    severity: Literal["info", "warning", "alarm"]
    code: str
    text: str


Action = Trim | Remount | Units | Say
Stepped = tuple[DiskState, tuple[Action, ...]]


def step(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    """One look. Writers hear of ``state.quiet`` after it, before its actions are done."""
    if look.used_pct is None:
        return _once(state, Say("alarm", "disk_unreadable", look.trouble))
    state = replace(state, said=state.said - {"disk_unreadable"})
    return _PHASES[state.phase](settings, state, look, now_ns)


def want_bytes(settings: DiskSettings, look: Look) -> int:
    """How much must go to come down to ``clear_pct``, bytes."""
    over_pct = max(0.0, (look.used_pct or 0.0) - settings.clear_pct)
    return int(look.total_bytes * over_pct / 100.0) + 1


def _open(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    if look.read_only:
        return _once(
            state, Say("alarm", "disk_foreign", "read-only, and not by us: look at the kernel's log; it is left so")
        )
    assert look.used_pct is not None
    state = replace(state, said=state.said - {"disk_foreign"})
    if look.used_pct < settings.limit_pct:
        return state, ()
    full = Say("warning", "disk_full", f"{look.used_pct:.1f} % used, {settings.limit_pct:g} allowed")
    if settings.trims:
        return _enter(Phase.TRIMMING, now_ns, state), (full, Trim(want_bytes(settings, look)))
    return _go_quiet(state, now_ns, full)


def _trimming(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    assert look.used_pct is not None
    if look.read_only:
        return _enter(Phase.OPEN, now_ns, state), ()
    at = f"{look.used_pct:.1f} % used"
    if look.used_pct <= settings.clear_pct:
        return _enter(Phase.OPEN, now_ns, state), (Say("info", "disk_trimmed", f"retention made room: {at}"),)
    if look.trim_empty or now_ns - state.since_ns > TRIM_NS:
        if look.used_pct < settings.limit_pct:
            return _enter(Phase.OPEN, now_ns, state), (Say("info", "disk_trimmed", f"retention made some room: {at}"),)
        return _go_quiet(state, now_ns, Say("warning", "disk_trim_done", f"retention has no more to give: {at}"))
    return state, (Trim(want_bytes(settings, look)),)


def _go_quiet(state: DiskState, now_ns: int, first: Say) -> Stepped:
    return _enter(Phase.QUIET, now_ns, state), (
        first,
        Say("warning", "disk_quiesce", "writers are told to close their files"),
    )


def _quiet(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    assert look.used_pct is not None
    if look.read_only:
        text = f"remounted read-only at {look.used_pct:.1f} % used"
        return _enter(Phase.READ_ONLY, now_ns, state), (Say("alarm", "disk_read_only", text),)
    if look.used_pct <= settings.clear_pct:
        return _reopen(state, look, now_ns)
    late = now_ns - state.since_ns >= settings.quiesce_ns
    if not late or not look.remount:
        return state, (Remount(True),)
    if settings.stop_units and not state.units:
        say = Say("warning", "disk_stop_units", f"{look.remount}: units are stopped")
        return replace(state, units=True), (say, Units(True), Remount(True))
    state, said = _once(state, Say("alarm", "disk_busy", f"cannot be made read-only, tried on: {look.remount}"))
    return state, (*said, Remount(True))


def _read_only(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    assert look.used_pct is not None
    if not look.read_only:
        minutes = settings.open_ns / 60e9
        say = Say(
            "warning", "disk_lent", f"made writable by somebody: {minutes:g} min to make room, writers stay quiet"
        )
        return _enter(Phase.LENT, now_ns, state), (say,)
    if look.used_pct <= settings.clear_pct:
        say = Say("info", "disk_returning", f"{look.used_pct:.1f} % used: writable again")
        return _enter(Phase.RETURNING, now_ns, state), (say, Remount(False))
    return state, ()


def _returning(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    assert look.used_pct is not None
    if not look.read_only:
        return _reopen(state, look, now_ns)
    if look.used_pct >= settings.limit_pct:
        return _enter(Phase.READ_ONLY, now_ns, state), ()
    said: tuple[Action, ...] = ()
    if look.remount and now_ns - state.since_ns > SLOW_NS:
        state, said = _once(state, Say("alarm", "disk_stuck", f"cannot be made writable again: {look.remount}"))
    return state, (*said, Remount(False))


def _lent(settings: DiskSettings, state: DiskState, look: Look, now_ns: int) -> Stepped:
    assert look.used_pct is not None
    if look.read_only:
        return _enter(Phase.READ_ONLY, now_ns, state), ()
    if look.used_pct <= settings.clear_pct:
        return _reopen(state, look, now_ns)
    if now_ns - state.since_ns >= settings.open_ns:
        say = Say("warning", "disk_full", f"still {look.used_pct:.1f} % used: read-only again")
        return _enter(Phase.QUIET, now_ns, state), (say,)
    return state, ()


def _reopen(state: DiskState, look: Look, now_ns: int) -> Stepped:
    say = Say("info", "disk_open", f"{look.used_pct:.1f} % used: writers go on")
    units: tuple[Action, ...] = (Units(False),) if state.units else ()
    return replace(_enter(Phase.OPEN, now_ns, state), units=False), (say, *units)


def _enter(phase: Phase, now_ns: int, state: DiskState) -> DiskState:
    return DiskState(phase, now_ns, frozenset(), state.units)


def _once(state: DiskState, say: Say) -> Stepped:
    """Say it, unless this phase has said it already."""
    if say.code in state.said:
        return state, ()
    return replace(state, said=state.said | {say.code}), (say,)


_PHASES: Final[Mapping[Phase, Callable[[DiskSettings, DiskState, Look, int], Stepped]]] = {
    Phase.OPEN: _open,
    Phase.TRIMMING: _trimming,
    Phase.QUIET: _quiet,
    Phase.READ_ONLY: _read_only,
    Phase.RETURNING: _returning,
    Phase.LENT: _lent,
}
