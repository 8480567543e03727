"""/data fills up: retention, quiet writers, read-only, and back; a small world with physics plays the disk."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
    want_bytes,
)

S = 1_000_000_000
SETTINGS = DiskSettings()
TOTAL = 1000


@dataclass
class World:
    """A disk of 1000 bytes with recordings that may go and files that writers hold open."""

    used: int = 500
    expendable: int = 0
    open_files: bool = True
    obeys: bool = True  # writers close their files when they are told to
    read_only: bool = False
    units: bool = True
    settings: DiskSettings = SETTINGS
    state: DiskState = field(default_factory=DiskState)
    now_ns: int = 0
    empty: bool = False
    remount: str = ""
    said: list[str] = field(default_factory=list)

    def turn(self, count: int = 1) -> Phase:
        for _ in range(count):
            self.now_ns += 10 * S
            pct = 100.0 * self.used / TOTAL
            look = Look(pct, TOTAL, self.read_only, self.empty, self.remount)
            before = self.state.phase
            self.state, actions = step(self.settings, self.state, look, self.now_ns)
            if self.state.phase is not before:
                self.empty, self.remount = False, ""
            self.open_files = self.units and not (self.state.quiet and self.obeys) and not self.read_only
            for action in actions:
                self.do(action)
        return self.state.phase

    def do(self, action: Action) -> None:
        match action:
            case Say():
                self.said.append(action.code)
            case Trim():
                gone = min(self.expendable, action.want_bytes)
                self.used, self.expendable, self.empty = self.used - gone, self.expendable - gone, gone == 0
            case Remount():
                busy = action.read_only and self.open_files
                self.remount = "busy" if busy else ""
                self.read_only = self.read_only if busy else action.read_only
            case Units():
                self.units = not action.stop
                self.open_files = self.units


def test_below_the_limit_nothing_is_done():
    world = World(used=899)
    assert world.turn(100) is Phase.OPEN
    assert world.said == []


def test_retention_alone_may_be_enough():
    world = World(used=905, expendable=400)
    assert world.turn(3) is Phase.OPEN
    assert 840 <= world.used <= 850
    assert world.said == ["disk_full", "disk_trimmed"]
    assert not world.read_only


def test_then_writers_are_quiet_then_it_is_read_only_then_back():
    world = World(used=950)
    phases = [world.turn() for _ in range(6)]
    assert phases[:4] == [Phase.TRIMMING, Phase.QUIET, Phase.QUIET, Phase.READ_ONLY]
    assert world.read_only
    assert world.said == ["disk_full", "disk_trim_done", "disk_quiesce", "disk_read_only"]
    world.used = 870
    assert world.turn(20) is Phase.READ_ONLY, "between the limits nothing moves"
    world.used = 850
    assert (world.turn(3), world.read_only) == (Phase.OPEN, False)
    assert world.said[-2:] == ["disk_returning", "disk_open"]


def test_a_remount_is_never_tried_before_writers_were_told():
    state, actions = step(SETTINGS, DiskState(Phase.TRIMMING), Look(95.0, TOTAL, trim_empty=True), 1)
    assert state.quiet
    assert not any(isinstance(action, Remount) for action in actions)


def test_writers_that_do_not_obey_are_an_alarm_and_it_is_tried_on():
    world = World(used=950, obeys=False)
    assert world.turn(20) is Phase.QUIET
    assert world.said.count("disk_busy") == 1
    world.obeys = True
    assert world.turn(2) is Phase.READ_ONLY


def test_or_their_units_are_stopped_and_started_again():
    world = World(used=950, obeys=False, settings=DiskSettings(stop_units=True))
    assert world.turn(8) is Phase.READ_ONLY
    assert not world.units
    world.used = 100
    assert world.turn(3) is Phase.OPEN
    assert world.units


def test_a_file_system_that_somebody_else_made_read_only_is_left_so():
    world = World(used=100, read_only=True)
    assert world.turn(50) is Phase.OPEN
    assert world.read_only
    assert world.said == ["disk_foreign"]


def test_a_person_who_makes_it_writable_has_time_to_make_room():
    world = World(used=950)
    world.turn(5)
    world.read_only = False
    assert world.turn() is Phase.LENT
    assert world.state.quiet
    assert world.turn(50) is Phase.LENT
    assert world.turn(15) is Phase.READ_ONLY
    world.read_only = False
    world.turn()
    world.used = 800
    assert world.turn() is Phase.OPEN


def test_without_retention_it_is_quiet_at_once():
    world = World(used=950, expendable=900, settings=DiskSettings(trims=False))
    assert world.turn() is Phase.QUIET
    assert world.used == 950


def test_room_made_while_writers_are_told_lets_them_go_on():
    world = World(used=950, obeys=False)
    world.turn(3)
    world.used = 500
    assert world.turn() is Phase.OPEN
    assert not world.read_only


@pytest.mark.parametrize("phase", list(Phase))
def test_what_cannot_be_told_moves_nothing_and_is_said_once(phase):
    state = DiskState(phase)
    said: list[Action] = []
    for now_ns in range(3):
        state, actions = step(SETTINGS, state, Look(None, trouble="not a mount point"), now_ns)
        said += actions
    assert state.phase is phase
    assert said == [Say("alarm", "disk_unreadable", "not a mount point")]


def test_how_much_must_go():
    assert want_bytes(SETTINGS, Look(95.0, 1000)) == 101
    assert want_bytes(SETTINGS, Look(80.0, 1000)) == 1


looks = st.builds(
    Look,
    st.one_of(st.none(), st.floats(0, 100)),
    st.just(TOTAL),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "busy"]),
)


@given(st.lists(looks, max_size=80), st.booleans())
def test_whatever_is_seen(found, stop_units):
    """Read-only only while quiet and full; writable only by us; nothing is deleted on a disk that is not full."""
    settings = DiskSettings(stop_units=stop_units)
    state, stopped = DiskState(), False
    for index, look in enumerate(found):
        before = state
        state, actions = step(settings, state, look, index * 10 * S)
        for action in actions:
            match action:
                case Trim():
                    assert look.used_pct is not None
                    assert look.used_pct > settings.clear_pct
                    assert not look.read_only
                case Remount(read_only=True):
                    assert before.phase is Phase.QUIET
                    assert look.used_pct is not None
                    assert look.used_pct > settings.clear_pct
                case Remount(read_only=False):
                    assert before.phase in (Phase.READ_ONLY, Phase.RETURNING)
                case Units():
                    assert action.stop is not stopped
                    stopped = action.stop
        assert stopped is state.units
        assert state.phase is not Phase.OPEN or not stopped
