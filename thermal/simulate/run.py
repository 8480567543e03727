"""One run: a law on a simulated node through a profile, tick by tick. Deterministic by its seed."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from thermal.control import Settings
from thermal.plant.board import PlantBoard
from thermal.plant.physics import fan_watts
from thermal.plant.profiles import Profile
from thermal.plant.spec import CPU_MAX_HZ, GPU_MAX_HZ, PlantSpec
from thermal.simulate.laws import Law, tj_of
from thermal.types import Command, Fault, Sample

BEGIN_NS: Final = 1_000_000_000_000  # any time but 0: nobody may take that for "never"
_COLUMNS: Final = (
    "at_s",
    "tj_c",
    "read_c",
    "sink_c",
    "box_c",
    "ambient_c",
    "duty_pct",
    "rpm",
    "fan_w",
    "power_w",
    "cpu_ghz",
    "gpu_ghz",
    "cap_level",
    "load",
    "done",
)
_UNREAD: Final = float("nan")


@dataclass(frozen=True, slots=True)
class Stretch:
    """A phase or a fault that lasted, s from the run's begin."""

    name: str
    begin_s: float
    end_s: float
    severity: str = ""
    text: str = ""


@dataclass(slots=True)
class Run:
    """Columns of equal length, one value a tick. ``tj_c`` is the truth, ``read_c`` what was read (NaN: nothing)."""

    profile: Profile
    law: str
    seed: int
    tick_s: float
    set_point_c: float
    columns: dict[str, array[float]] = field(default_factory=lambda: {name: array("d") for name in _COLUMNS})
    phases: list[Stretch] = field(default_factory=list)
    faults: list[Stretch] = field(default_factory=list)

    def __getitem__(self, name: str) -> array[float]:
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.columns["at_s"])


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run. ``tick_s``: of the rows; the law looks at its own period."""

    profile: Profile
    seed: int = 0
    tick_s: float = 0.5
    spec: PlantSpec | None = None
    set_point_c: float = Settings().set_point_c


def simulate(
    plan: Plan,
    law: Law,
    *,
    each: Callable[[Sample, Command], None] | None = None,
    progress: Callable[[float], None] | None = None,
) -> Run:
    """Run a law through a profile. ``each`` gets every tick of the law, ``progress`` the share done, now and then."""
    board = PlantBoard(plan.profile, plan.spec, seed=plan.seed)
    run = Run(plan.profile, law.name, plan.seed, plan.tick_s, plan.set_point_c)
    keeper = _Keeper(run)
    ticks = max(1, round(plan.profile.seconds / plan.tick_s))
    every = max(1, round(law.period_s / plan.tick_s))
    order = None
    for tick in range(ticks):
        now_ns = BEGIN_NS + round(tick * plan.tick_s * 1e9)
        sample = board.sample(now_ns)
        if order is None or tick % every == 0:
            order = law.order(sample, now_ns)
            board.set_duty(order.command.duty_pct)
            board.set_caps(order.cap_hz)
            if each is not None:
                each(sample, order.command)
            keeper.faults(order.faults, board.at_s)
        keeper.row(board, sample, order.command)
        if progress is not None and tick % 2048 == 0:
            progress(tick / ticks)
    keeper.end(board.at_s)
    return run


class _Keeper:
    """Writes the run down: rows, phases as they change, faults as they come and go."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._open: dict[tuple[str, str], tuple[float, Fault, dict[str, int]]] = {}
        self._phase: tuple[str, float] | None = None
        self._columns = [run.columns[name] for name in _COLUMNS]

    def row(self, board: PlantBoard, sample: Sample, command: Command) -> None:
        state, read_c = board.state, tj_of(sample)
        values = (
            board.at_s,
            board.tj_c,
            _UNREAD if read_c is None else read_c,
            state.sink_c,
            state.box_c,
            board.outside.ambient_c,
            state.duty_pct,
            state.rpm,
            fan_watts(board.spec.fan, state.rpm),
            state.watts.module,
            state.cpu_share * CPU_MAX_HZ / 1e9,
            state.gpu_share * GPU_MAX_HZ / 1e9,
            float(command.cap_level),
            board.outside.load,
            state.done,
        )
        for column, value in zip(self._columns, values, strict=True):
            column.append(value)
        if self._phase is None or self._phase[0] != board.phase.name:
            self._close_phase(board.at_s)
            self._phase = (board.phase.name, board.at_s)

    def _close_phase(self, at_s: float) -> None:
        if self._phase is not None:
            self._run.phases.append(Stretch(self._phase[0], self._phase[1], at_s))

    def faults(self, faults: tuple[Fault, ...], at_s: float) -> None:
        now = {(fault.code, fault.what): fault for fault in faults}
        for key, fault in now.items():
            said = self._open.setdefault(key, (at_s, fault, {}))[2]
            said[fault.text] = said.get(fault.text, 0) + 1
        for key in [key for key in self._open if key not in now]:
            self._close_fault(key, at_s)

    def _close_fault(self, key: tuple[str, str], at_s: float) -> None:
        begin_s, fault, said = self._open.pop(key)
        text = max(said, key=lambda one: said[one])  # what it said most of the time
        name = fault.code if not fault.what else f"{fault.code} {fault.what}"
        self._run.faults.append(Stretch(name, begin_s, at_s, fault.severity.value, text))

    def end(self, at_s: float) -> None:
        self._close_phase(at_s)
        for key in list(self._open):
            self._close_fault(key, at_s)
        self._run.faults.sort(key=lambda one: one.begin_s)
