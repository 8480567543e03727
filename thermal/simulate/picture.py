"""A run as one SVG: temperature, fan, clocks and power over the day, what was asked marked. Pure: run in, text out.

Panels share one axis of time; phases stand on top, what was wrong below the temperatures and in words at the foot.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from thermal.plant.spec import CPU_MAX_HZ, GPU_MAX_HZ, Fan
from thermal.simulate.figures import ASKED_C, BAR_C, THM3_C, Figures
from thermal.simulate.laws import asked_line_pct
from thermal.simulate.run import Run, Stretch
from touchline.canvas import Canvas

WIDTH: Final = 1200
LEFT: Final = 92.0
RIGHT: Final = 1092.0  # labels of the marked lines stand to the right of it
MAX_LISTED: Final = 12
_LANE_PX: Final = 15.0  # of a fault
_FLAT_PX: Final = 0.6
BUDGET_W: Final = 55.0  # THM-4
_STEPS_S: Final = (10, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400)

_STYLE: Final = """
text{font-family:system-ui,"DejaVu Sans",sans-serif;font-size:12px;fill:#3c4858}
.bg{fill:#fff}.title{font-size:20px;font-weight:600;fill:#1b2430}.h{font-size:13px;font-weight:600;fill:#1b2430}
.frame{fill:none;stroke:#8a95a3}.grid{stroke:#8a95a3;stroke-opacity:.28}.hatch{stroke:#8a95a3;stroke-width:1.2}
.tj{fill:none;stroke:#c8323c;stroke-width:2}.read{fill:none;stroke:#8a95a3;stroke-width:1}
.sink{fill:none;stroke:#b86e00;stroke-width:1.5}.box{fill:none;stroke:#0b63c5;stroke-width:1.3}
.out{fill:none;stroke:#0b63c5;stroke-width:1.3;stroke-dasharray:2 3}
.duty{fill:none;stroke:#0b63c5;stroke-width:1.8}.dutyfill{fill:#0b63c5;fill-opacity:.12}
.floor{fill:none;stroke:#1b2430;stroke-width:1.3;stroke-dasharray:2 3}.rpm{fill:none;stroke:#1f8a4c;stroke-width:1.5}
.gpu{fill:none;stroke:#6d4bb5;stroke-width:2}.cpu{fill:none;stroke:#0b8a8f;stroke-width:2}
.capped{fill:#6d4bb5;fill-opacity:.15}.lost{fill:#c8323c;fill-opacity:.45}
.power{fill:none;stroke:#b86e00;stroke-width:1.5}.powerfill{fill:#b86e00;fill-opacity:.14}
.point{stroke:#1f8a4c;stroke-width:1.4;stroke-dasharray:7 4}.asked{stroke:#b86e00;stroke-width:1.4;stroke-dasharray:7 4}
.limit{stroke:#c8323c;stroke-width:1.4;stroke-dasharray:7 4}.above{fill:#c8323c;fill-opacity:.10}
.busy{fill:#5b6776;fill-opacity:.13}.edge{stroke:#8a95a3;stroke-opacity:.7}
.alarm{fill:#c8323c;fill-opacity:.85}.warning{fill:#e08e00;fill-opacity:.9}
.number{font-size:10.5px;font-weight:600}
.end{text-anchor:end}.mid{text-anchor:middle}.small{font-size:11px}.good{fill:#1f8a4c;font-weight:600}
.bad{fill:#c8323c;font-weight:600}.over{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}
@media(prefers-color-scheme:dark){text{fill:#aab6c4}.bg{fill:#11161c}.title,.h{fill:#e8eef5}.tj,.limit{stroke:#ef5b64}
.sink,.power,.asked{stroke:#f0a92e}.box,.out,.duty{stroke:#63a9ff}.floor{stroke:#e8eef5}.rpm,.point{stroke:#3fbf74}
.gpu{stroke:#b79bf2}.cpu{stroke:#4cc9ce}.capped{fill:#b79bf2}
.good{fill:#3fbf74}.bad{fill:#ef5b64}.over{stroke:#11161c}}
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    top: float
    height: float
    low: float
    high: float
    seconds: float

    @property
    def bottom(self) -> float:
        return self.top + self.height

    def x(self, at_s: float) -> float:
        return LEFT + min(max(at_s / self.seconds, 0.0), 1.0) * (RIGHT - LEFT)

    def y(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.bottom - min(max(share, 0.0), 1.0) * self.height


def draw(run: Run, found: Figures) -> str:
    """Return the SVG of a run. Raises ValueError for one without rows."""
    if not len(run):
        raise ValueError("there are no rows to draw")
    canvas, seconds = Canvas(), max(run["at_s"][-1], 1.0)
    temps = _Panel("temperature, °C", 168.0, 270.0, *_range(run), seconds)
    listed = sorted(run.faults, key=lambda one: (one.severity != "alarm", one.begin_s))[:MAX_LISTED]
    listed.sort(key=lambda one: one.begin_s)
    room = 14.0 + _LANE_PX * len(listed) if listed else 0.0
    fan = _Panel("fan, % of full", temps.bottom + 44 + room, 140.0, 0.0, 100.0, seconds)
    clocks = _Panel("clocks, GHz", fan.bottom + 44, 96.0, 0.0, 2.4, seconds)
    power = _Panel("module power, W", clocks.bottom + 44, 96.0, 0.0, max(70.0, max(run["power_w"]) + 5), seconds)
    panels = (temps, fan, clocks, power)
    _heading(canvas, run, found)
    for panel in panels:
        _under(canvas, panel, run)
    _time_ticks(canvas, panels)
    _temperatures(canvas, temps, run)
    _fan(canvas, fan, run)
    _clocks(canvas, clocks, run)
    _power(canvas, power, run)
    for panel in panels:
        canvas.box((LEFT, panel.top), (RIGHT - LEFT, panel.height), "frame")
    bottom = _faults(canvas, temps, listed, len(run.faults), power.bottom + 56)
    return canvas.page(f"{run.profile.name}, law {run.law}", _STYLE, (WIDTH, bottom))


def _range(run: Run) -> tuple[float, float]:
    low = min(0.0, *run["ambient_c"]) if min(run["ambient_c"]) < 15 else 15.0
    high = max(80.0, max(run["tj_c"]) + 2.0)
    return 10.0 * math.floor(low / 10.0), 10.0 * math.ceil(high / 10.0)


def _heading(canvas: Canvas, run: Run, found: Figures) -> None:
    canvas.text(LEFT, 34, f"{run.profile.name}: law {run.law}", "title")
    canvas.text(LEFT, 56, f"{run.profile.about} · simulated, seed {run.seed}, {clock_text(run['at_s'][-1])} h")
    warm = f"above 68 °C {minutes_text(found.above_68_s)}, above 70 °C {minutes_text(found.above_70_s)}"
    canvas.text(LEFT, 77, f"peak {found.peak_c:.1f} °C · {warm}", "good" if found.above_70_s == 0 else "bad")
    rms = "" if found.rms_k is None else f" · {found.rms_k:.2f} K rms from the set point at match load"
    capped = "clocks never capped"
    if found.capped_s:
        capped = f"clocks capped {minutes_text(found.capped_s)}, {found.lost_pct:.1f} % of the frames not done"
    canvas.text(
        LEFT,
        98,
        f"duty {found.mean_duty_pct:.1f} % in the mean, {found.reversals_per_h:.1f} turns/h · fan {found.fan_wh:.2f} Wh"
        f" · {found.noise_dba:.1f} dB(A){rms} · {capped}",
    )


def _under(canvas: Canvas, panel: _Panel, run: Run) -> None:
    """What lies under the curves: stretches of match load, edges of phases, the phases' names on the first panel."""
    first = panel.title.startswith("temperature")
    for stretch in run.phases:
        left, right = panel.x(stretch.begin_s), panel.x(stretch.end_s)
        if run.profile.at(stretch.begin_s + 1e-3)[0].load >= 0.85:
            canvas.box((left, panel.top), (right - left, panel.height), "busy")
        canvas.line([(left, panel.top), (left, panel.bottom)], "edge")
        if first and right - left > 6.2 * len(stretch.name):
            canvas.text((left + right) / 2, panel.top - 24, stretch.name, "mid small")
        if first:
            canvas.line([(left, panel.top - 36), (left, panel.top)], "edge")


def _time_ticks(canvas: Canvas, panels: Sequence[_Panel]) -> None:
    seconds = panels[0].seconds
    step = next((one for one in _STEPS_S if seconds / one <= 14), 6 * 3600)
    for place in range(int(seconds // step) + 1):
        for panel in panels:
            x = panel.x(place * step)
            canvas.line([(x, panel.top), (x, panel.bottom)], "grid")
        canvas.text(panels[-1].x(place * step), panels[-1].bottom + 18, clock_text(place * step, step < 60), "mid")
    canvas.text(LEFT - 26, panels[-1].bottom + 18, "h:min", "end")


def _scale(canvas: Canvas, panel: _Panel, values: Sequence[float]) -> None:
    for value in values:
        y = panel.y(value)
        canvas.line([(LEFT, y), (RIGHT, y)], "grid")
        canvas.text(LEFT - 8, y + 4, f"{value:g}".replace("-", "−"), "end")


def _legend(canvas: Canvas, panel: _Panel, names: Sequence[tuple[str, str]]) -> None:
    """Title of the panel and what its curves are; ``names``: class and words. Boxes for areas."""
    canvas.text(LEFT, panel.top - 8, panel.title, "h")
    x, y = LEFT + 26 + 7.4 * len(panel.title), panel.top - 8
    for kind, name in names:
        if kind in ("capped", "lost", "alarm", "warning"):
            canvas.box((x, y - 9), (16, 10), kind)
        else:
            canvas.line([(x, y - 4), (x + 18, y - 4)], kind)
        canvas.text(x + 23, y, name)
        x += 42 + 6.6 * len(name)


def _mark(canvas: Canvas, panel: _Panel, value: float, kind: str, text: str) -> None:
    y = panel.y(value)
    canvas.line([(LEFT, y), (RIGHT, y)], kind)
    canvas.text(RIGHT + 6, y + 4, text, "small")


def _curve(canvas: Canvas, panel: _Panel, run: Run, values: Sequence[float], kind: str) -> None:
    for piece in _pieces(panel, run["at_s"], values):
        canvas.line(piece, kind)


def _filled(canvas: Canvas, panel: _Panel, run: Run, values: Sequence[float], kind: str) -> None:
    for piece in _pieces(panel, run["at_s"], values):
        canvas.area([(piece[0][0], panel.bottom), *piece, (piece[-1][0], panel.bottom)], kind)


def _pieces(panel: _Panel, times: Sequence[float], values: Sequence[float]) -> Iterator[list[tuple[float, float]]]:
    """The curve without its gaps (NaN), thinned to at most four points a pixel: no spike is lost."""
    piece: list[tuple[float, float]] = []
    for at_s, value in zip(times, values, strict=True):
        if value == value:  # noqa: PLR0124 NaN is not itself: a value that could not be read
            piece.append((panel.x(at_s), panel.y(value)))
        elif piece:
            yield _thinned(piece)
            piece = []
    if piece:
        yield _thinned(piece)


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most four points a pixel and one where the curve is flat there; none within a level stretch."""
    kept: list[tuple[float, float]] = []
    begin = 0
    for place in range(1, len(points) + 1):
        if place < len(points) and int(points[place][0]) == int(points[begin][0]):
            continue
        column = range(begin, place)
        low, high = min(column, key=lambda one: points[one][1]), max(column, key=lambda one: points[one][1])
        flat = points[high][1] - points[low][1] < _FLAT_PX
        kept += [points[one] for one in ({begin} if flat else sorted({begin, low, high, place - 1}))]
        begin = place
    kept.append(points[-1])
    level = [abs(a[1] - b[1]) < 0.05 for a, b in pairwise(kept)]
    inner = [one for number, one in enumerate(kept[1:-1], 1) if not (level[number - 1] and level[number])]
    return [kept[0], *inner, kept[-1]]


def _temperatures(canvas: Canvas, panel: _Panel, run: Run) -> None:
    names = [("tj", "tj, the hottest point"), ("sink", "heatsink"), ("box", "air in the box"), ("out", "outside")]
    _legend(canvas, panel, names)
    _scale(canvas, panel, range(int(panel.low), int(panel.high) + 1, 10))
    canvas.box((LEFT, panel.top), (RIGHT - LEFT, panel.y(BAR_C) - panel.top), "above")
    marks = [(THM3_C, "limit", "74 THM-3"), (BAR_C, "limit", "70 bar"), (ASKED_C, "asked", "68 asked")]
    marks = sorted([*marks, (run.set_point_c, "point", f"{run.set_point_c:g} set point")], reverse=True)
    below = -math.inf
    for value, kind, text in marks:
        y = panel.y(value)
        canvas.line([(LEFT, y), (RIGHT, y)], kind)
        below = max(y, below + 12.0)
        canvas.text(RIGHT + 6, below, text, "small")
    for name, kind in (("ambient_c", "out"), ("box_c", "box"), ("sink_c", "sink"), ("tj_c", "tj")):
        _curve(canvas, panel, run, run[name], kind)


def _fan(canvas: Canvas, panel: _Panel, run: Run) -> None:
    names = [("duty", "duty"), ("rpm", f"speed, of {Fan().max_rpm:.0f} rpm"), ("floor", "the asked line at this tj")]
    _legend(canvas, panel, names)
    _scale(canvas, panel, (0, 30, 60, 100))
    _filled(canvas, panel, run, run["duty_pct"], "dutyfill")
    _curve(canvas, panel, run, run["duty_pct"], "duty")
    _curve(canvas, panel, run, [100.0 * rpm / Fan().max_rpm for rpm in run["rpm"]], "rpm")
    _curve(canvas, panel, run, [asked_line_pct(value) for value in run["tj_c"]], "floor")


def _clocks(canvas: Canvas, panel: _Panel, run: Run) -> None:
    _legend(canvas, panel, [("cpu", "CPU"), ("gpu", "GPU"), ("capped", "capped"), ("lost", "frames not done")])
    _scale(canvas, panel, (0, 1, 2))
    for begin_s, end_s in _stretches(run["at_s"], [level > 0 for level in run["cap_level"]]):
        left, right = panel.x(begin_s), panel.x(end_s)
        canvas.box((left, panel.top), (right - left, panel.height), "capped")
    lost = [panel.high * (1.0 - done) if load > 0 else 0.0 for load, done in zip(run["load"], run["done"], strict=True)]
    if max(lost) > 0:
        _filled(canvas, panel, run, lost, "lost")
    _curve(canvas, panel, run, run["cpu_ghz"], "cpu")
    _curve(canvas, panel, run, run["gpu_ghz"], "gpu")
    for most_hz in (CPU_MAX_HZ, GPU_MAX_HZ):
        canvas.text(RIGHT + 6, panel.y(most_hz / 1e9) + 4, f"{most_hz / 1e9:.1f} full", "small")


def _power(canvas: Canvas, panel: _Panel, run: Run) -> None:
    _legend(canvas, panel, [("power", "module")])
    _scale(canvas, panel, (0, 20, 40, 60))
    _filled(canvas, panel, run, run["power_w"], "powerfill")
    _curve(canvas, panel, run, run["power_w"], "power")
    _mark(canvas, panel, BUDGET_W, "limit", "55 THM-4")


def _stretches(times: Sequence[float], marked: Sequence[bool]) -> Iterator[tuple[float, float]]:
    begin_s: float | None = None
    for at_s, on in zip(times, marked, strict=True):
        if on and begin_s is None:
            begin_s = at_s
        elif not on and begin_s is not None:
            yield begin_s, at_s
            begin_s = None
    if begin_s is not None:
        yield begin_s, times[-1]


def _faults(canvas: Canvas, panel: _Panel, listed: Sequence[Stretch], total: int, y: float) -> float:
    """Bars below the temperatures, numbered, and in words at the foot; returns the height of the page."""
    if not listed:
        return y
    top = panel.bottom + 8
    more = f" (the gravest {len(listed)} of {total})" if total > len(listed) else ""
    canvas.text(LEFT - 24, top + 11, "faults", "end")
    canvas.text(LEFT, y, f"Faults that the law reported{more}", "h")
    for number, one in enumerate(listed, 1):
        left, right, lane = panel.x(one.begin_s), panel.x(one.end_s), top + _LANE_PX * (number - 1)
        canvas.box((left, lane + 3), (max(right - left, 2.0), 8), one.severity)
        canvas.text(left - 5, lane + 11, str(number), "end number")
        y += 21
        canvas.text(LEFT + 16, y, str(number), "end number")
        canvas.text(LEFT + 28, y, f"{clock_text(one.begin_s, True)}, for {minutes_text(one.end_s - one.begin_s)}")
        canvas.text(LEFT + 190, y, one.severity, "bad" if one.severity == "alarm" else "")
        canvas.text(LEFT + 260, y, one.name)
        canvas.text(LEFT + 430, y, one.text if len(one.text) <= 100 else one.text[:99] + "…")
    return y + 24


def clock_text(at_s: float, seconds: bool = False) -> str:
    """A time of the run: 1:05, or 1:05:20."""
    whole = round(at_s)
    text = f"{whole // 3600}:{whole // 60 % 60:02d}"
    return f"{text}:{whole % 60:02d}" if seconds else text


def minutes_text(seconds: float) -> str:
    """A duration in words: 0 s, 40 s, 12.5 min."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min"
