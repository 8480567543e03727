"""The fan law on simulated match days, beside the asked line alone, nvfancontrol's stock table and openpilot's law.

    python -m benchmarks.thermal [--profile NAME ...] [--seed 0] [--spread] [--json FILE]

One run of each law through each profile of thermal/plant/profiles.json, same seed, same node. Bars: tj never above 70 C
where the full fan alone, clocks free, has it at or below 70 and keeps it there for 5 min (a heatsink cooled before is
below for a minute where the fan loses; the peak at those moments too is shown without a bar); mean duty at most that of
the asked line moved just as far as it must be to reach our peak (bisection; only where neither clocks nor faults play a
part; one step of the PWM is no difference); a 30 s loss of every sensor without exceeding 75 C. "full fan in play" is
the bound of the time above 68 C for whoever learns of the match when it begins. RMS: deviation from our set point at
match load. Sound: 42 dB(A) at full speed is assumed, the fan law (50 log10) is not. Figures of a simulation: nothing
ran on an Orin.

--spread repeats the comparison at equal peak with each constant of the node's cooling and its power 20 % lower and
higher, the law as it is (half an hour for a profile).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from benchmarks.common import Row, machine, report
from benchmarks.thermal_laws import FullInPlay, NvFanControl, Openpilot
from thermal.control import Settings
from thermal.plant.profiles import Profile, built_in
from thermal.plant.spec import PlantSpec
from thermal.simulate.figures import BAR_C, Figures, figures, held_by_full_fan, peak_where
from thermal.simulate.laws import FullLaw, Law, LineLaw, OurLaw
from thermal.simulate.run import Plan, Run, simulate

LOSS_BAR_C: Final = 75.0
TICK_S: Final = 0.5
PWM_STEP_PCT: Final = 100.0 / 255.0
_TOLERANCE_K: Final = 0.02
_SET_POINT_C: Final = Settings().set_point_c
_LAWS: Final[Mapping[str, Callable[[Profile], Law]]] = {
    "ours": lambda _: OurLaw(),
    "the asked line alone": lambda _: LineLaw(),
    "nvfancontrol stock": lambda _: NvFanControl(),
    "openpilot": lambda _: Openpilot(),
    f"openpilot at {_SET_POINT_C:g} C": lambda _: Openpilot(_SET_POINT_C),
    "full fan in play": FullInPlay,
    "full fan": lambda _: FullLaw(),
}
_SPREAD: Final = (0.8, 1.2)
_SPREAD_OF: Final = {  # part of the node, its constants that move together
    "heatsink's mass": ("heat", ("c_sink_j_per_k",)),
    "fan's conductance": ("heat", ("g_fan_w_per_k",)),
    "die to heatsink": ("heat", ("r_die_sink_k_per_w",)),
    "box to air": ("heat", ("r_box_k_per_w",)),
    "box's mass": ("heat", ("c_box_j_per_k",)),
    "power": ("power", ("gpu_dynamic_w", "cpu_dynamic_w")),
}
_SHOWN: Final = (
    ("peak_c", "peak tj", "C"),
    ("above_68_s", "time above 68 C", "s"),
    ("above_70_s", "time above 70 C", "s"),
    ("rms_k", f"RMS from {_SET_POINT_C:g} C", "K"),
    ("fan_wh", "fan energy", "Wh"),
    ("noise_dba", "sound, mean", "dB(A)"),
    ("reversals_per_h", "turns > 5 %", "1/h"),
    ("mean_duty_pct", "mean duty", "%"),
    ("capped_s", "clocks capped", "s"),
    ("lost_pct", "frames not done", "%"),
)
_HEADS: Final = ("peak C", ">68 C s", ">70 C s", "rms K", "fan Wh", "dB(A)", "turns/h", "duty %", "capped s", "lost %")


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print, 8 when a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__, epilog="example: python -m benchmarks.thermal --profile sun")
    parser.add_argument("--profile", nargs="*", default=None, help="only these; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of noise and load")
    parser.add_argument("--spread", action="store_true", help="other nodes too: constants 20 %% lower and higher")
    parser.add_argument("--json", type=Path, default=None, help="write the rows to this file")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.profile or ()) - set(built_in())
    if unknown:
        parser.error(f"no profile is called {', '.join(sorted(unknown))}; there are {', '.join(built_in())}")
    bars: list[Row] = []
    shown: list[Row] = []
    for name in arguments.profile or built_in():
        runs = _runs(built_in()[name], arguments.seed)
        found = {law: figures(run) for law, run in runs.items()}
        _print(name, found)
        shown += _compared(name, found)
        bars += _bars(name, runs, found, arguments.seed)
        bars += _spread(name, arguments.seed) if arguments.spread else []
    print()
    holds = report(bars, None)
    if arguments.json is not None:
        document = {"machine": machine(), "rows": [asdict(row) for row in (*bars, *shown)]}
        arguments.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0 if holds else 8


def _runs(profile: Profile, seed: int) -> dict[str, Run]:
    runs = {}
    for law, make in _LAWS.items():
        print(f"{profile.name}: {law}", file=sys.stderr)
        runs[law] = simulate(Plan(profile, seed, TICK_S), make(profile))
    return runs


def _print(name: str, found: Mapping[str, Figures]) -> None:
    print(f"\n{name}: {built_in()[name].about}")
    print(" " * 22 + "".join(f"{what:>10}" for what in _HEADS))
    for law, values in found.items():
        cells = [getattr(values, key) for key, _, _ in _SHOWN]
        print(f"  {law:<20}" + "".join(f"{'-' if cell is None else f'{cell:.1f}':>10}" for cell in cells))


def _compared(name: str, found: Mapping[str, Figures]) -> list[Row]:
    """Each figure of ours beside each peer's; the ratio is ours to theirs."""
    rows = []
    for peer, theirs in found.items():
        for key, what, unit in _SHOWN if peer != "ours" else ():
            ours, other = getattr(found["ours"], key), getattr(theirs, key)
            if ours is not None and other is not None:
                ratio = ours / other if other else None
                rows.append(Row(f"{name}: {what}", ours, other, peer, unit, ratio, "-", None))
    return rows


def _bars(name: str, runs: Mapping[str, Run], found: Mapping[str, Figures], seed: int) -> list[Row]:
    ours, rows = runs["ours"], []
    peak_c = peak_where(ours, held_by_full_fan(runs["full fan"]))
    if peak_c is not None:
        rows.append(_at_most(f"{name}: peak tj where the full fan holds 70 C", peak_c, BAR_C, "C"))
    at_once_c = peak_where(ours, held_by_full_fan(runs["full fan"], hold_s=0.0))
    if at_once_c is not None and at_once_c != peak_c:
        what = f"{name}: peak tj where the full fan is below 70 C for now"
        rows.append(Row(what, at_once_c, None, "", "C", None, "-", None))
    if any(trouble.kind == "zone_errno" for trouble in ours.profile.troubles):
        rows.append(_at_most(f"{name}: peak tj, 30 s without sensors", found["ours"].peak_c, LOSS_BAR_C, "C"))
    if not ours.profile.troubles and not found["ours"].capped_s:
        row = _equal_peak(name, Plan(ours.profile, seed, TICK_S), found["ours"])
        rows += [row] if row is not None else []
    return rows


def _at_most(what: str, value: float, bar: float, unit: str) -> Row:
    return Row(what, value, None, "", unit, None, f"<= {bar:g}", value <= bar)


def _spread(name: str, seed: int) -> list[Row]:
    """Rows at equal peak for nodes that are not as assumed; none where those need their clocks capped."""
    rows, profile = [], built_in()[name]
    for what, (part, constants) in _SPREAD_OF.items():
        for factor in _SPREAD:
            spec = PlantSpec()
            values = {constant: factor * getattr(getattr(spec, part), constant) for constant in constants}
            spec = replace(spec, **{part: replace(getattr(spec, part), **values)})
            plan = Plan(profile, seed, TICK_S, spec)
            ours = figures(simulate(plan, OurLaw()))
            row = None if ours.capped_s else _equal_peak(f"{name}, {what} x {factor:g}", plan, ours)
            rows += [] if row is None else [replace(row, bar="-", holds=None)]
    return rows


def _equal_peak(name: str, plan: Plan, ours: Figures) -> Row | None:
    """Mean duty beside that of the asked line, moved to the peak that we reach; None where no line reaches it."""

    def line(shift_c: float) -> Figures:
        print(f"{name}: line moved by {-shift_c:+.2f} K", file=sys.stderr)
        return figures(simulate(plan, LineLaw(shift_c)))

    low, high = -8.0, 20.0  # moved to higher and to lower temperatures: hotter and cooler
    best = line(high)
    if best.peak_c > ours.peak_c + _TOLERANCE_K:
        return None
    for _ in range(12):
        middle = (low + high) / 2
        now = line(middle)
        if now.peak_c > ours.peak_c + _TOLERANCE_K:
            low = middle
        else:
            high, best = middle, now
    what, peer = f"{name}: mean duty at equal peak ({ours.peak_c:.1f} C)", f"asked line moved by {-high:+.2f} K"
    ratio = ours.mean_duty_pct / best.mean_duty_pct
    holds = ours.mean_duty_pct <= best.mean_duty_pct + PWM_STEP_PCT
    return Row(what, ours.mean_duty_pct, best.mean_duty_pct, peer, "%", ratio, "<= peer, to a PWM step", holds)


if __name__ == "__main__":
    sys.exit(main())
