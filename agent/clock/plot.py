"""The clock's history as one SVG: offset within bound, states, events, path delay. Pure: rows in, text out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from agent.clock.axes import Axis, delay_axis, error_axis, time_label, time_step_s
from agent.clock.history import GAP_S, History, Mark, Row
from agent.clock.show import age_text, utc_of
from touchline.canvas import Canvas
from touchline.units import format_duration

WIDTH: Final = 1200
LEFT: Final = 92.0
RIGHT: Final = 1176.0
MAX_MARKS: Final = 14
_TOP: Final = (152.0, 300.0)  # top and height of the upper panel, px
_LOW: Final = (490.0, 96.0)
_SEVERITY: Final = ("error", "warning", "info")

_STYLE: Final = """
text{font-family:system-ui,"DejaVu Sans",sans-serif;font-size:12px;fill:#3c4858}
.bg{fill:#fff}.title{font-size:20px;font-weight:600;fill:#1b2430}.h{font-size:13px;font-weight:600;fill:#1b2430}
.frame{fill:none;stroke:#8a95a3}.grid{stroke:#8a95a3;stroke-opacity:.28}.zero{stroke:#8a95a3;stroke-opacity:.8}
.locked{fill:#1f8a4c}.holdover{fill:#e08e00}.unlocked{fill:#c8323c}.band{fill-opacity:.15}.locked.band{fill-opacity:.07}
.bound{fill:#6d4bb5;fill-opacity:.14;stroke:#6d4bb5;stroke-width:1.3}.offset{fill:none;stroke:#0b63c5;stroke-width:1.5}
.delay{fill:none;stroke:#0b63c5;stroke-width:1.5}.limit{stroke:#c8323c;stroke-width:1.5;stroke-dasharray:7 4}
.epoch{stroke:#1b2430;stroke-width:1.6}.info{stroke:#5b6776}.warning{stroke:#b86e00}.error{stroke:#c8323c}
.event{stroke-dasharray:2 3;fill:none}.pin{fill:#fff;stroke-width:1.6}.number{font-size:10.5px;font-weight:600}
.end{text-anchor:end}.mid{text-anchor:middle}.hatch{stroke:#8a95a3;stroke-width:1.2}
.over{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round;font-weight:600}
@media(prefers-color-scheme:dark){text{fill:#aab6c4}.bg{fill:#11161c}.title,.h{fill:#e8eef5}.locked{fill:#3fbf74}
.holdover{fill:#f0a92e}.unlocked{fill:#ef5b64}.band{fill-opacity:.22}.locked.band{fill-opacity:.1}.bound{fill:#b79bf2;stroke:#b79bf2}
.offset,.delay{stroke:#63a9ff}.limit,.error{stroke:#ef5b64}.warning{stroke:#f0a92e}.info{stroke:#aab6c4}
.epoch{stroke:#e8eef5}.pin{fill:#11161c}.over{stroke:#11161c}}
"""


@dataclass(frozen=True, slots=True)
class _Panel:
    """A rectangle with an axis of time; ``start_s``..``end_s`` as ``at_s`` of rows."""

    top: float
    height: float
    start_s: float
    end_s: float

    def x(self, at_s: float) -> float:
        share = (at_s - self.start_s) / (self.end_s - self.start_s)
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    def y(self, axis: Axis, value: float) -> float:
        return self.top + self.height * (1.0 - axis.place(value))


def draw(history: History, *, node: str, limit_ns: float, utc_offset_s: float | None) -> str:
    """Return the SVG. ``utc_offset_s``: TAI less UTC; None when the time is no TAI, then the axis counts back.

    Raises ValueError when the history has no rows.
    """
    if not history.rows:
        raise ValueError("there are no rows to draw")
    end_s = history.end_s
    start_s = end_s - history.seconds
    upper, lower = _Panel(*_TOP, start_s, end_s), _Panel(*_LOW, start_s, end_s)
    base = utc_of(history.newest_ptp_ns, utc_offset_s) if utc_offset_s is not None else None
    clock = None if base is None else (base.timestamp() % 86_400 if history.seconds <= 86_400 else base.timestamp())
    canvas = Canvas()
    _heading(canvas, history, node, utc_offset_s)
    runs = list(_runs(history.rows))
    for panel in (upper, lower):
        _states(canvas, panel, runs)
    _time_ticks(canvas, (upper, lower), clock)
    listed = chosen_marks(history.marks)
    _pins(canvas, (upper, lower), listed)
    _errors(canvas, upper, runs, limit_ns)
    _delays(canvas, lower, runs)
    for panel in (upper, lower):
        _no_data(canvas, panel, runs)
    _epochs(canvas, (upper, lower), history.rows)
    bottom = _list(canvas, history, listed, clock)
    for panel in (upper, lower):
        canvas.box((LEFT, panel.top), (RIGHT - LEFT, panel.height), "frame")
    return canvas.page(f"Clock of {node}", _STYLE, (WIDTH, bottom))


def chosen_marks(marks: Sequence[Mark]) -> list[Mark]:
    """The events that are numbered and listed: the gravest, of those the newest, in the order of time."""
    by_weight = sorted(marks, key=lambda mark: (_SEVERITY.index(mark.severity), -mark.at_s))
    return sorted(by_weight[:MAX_MARKS], key=lambda mark: mark.at_s)


def thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most four points a pixel, its first, lowest, highest and last: no spike is ever lost."""
    if len(points) <= 2 * (RIGHT - LEFT):
        return points
    columns: dict[int, list[tuple[float, float]]] = {}
    for point in points:
        columns.setdefault(int(point[0]), []).append(point)
    kept = []
    for column in columns.values():
        lowest, highest = min(column, key=lambda one: one[1]), max(column, key=lambda one: one[1])
        kept += sorted({column[0], lowest, highest, column[-1]}, key=column.index)
    return kept


def _runs(rows: Sequence[Row]) -> Iterator[list[Row]]:
    """Rows without a gap between them."""
    run: list[Row] = []
    for row in rows:
        if run and row.at_s - run[-1].at_s > GAP_S:
            yield run
            run = []
        run.append(row)
    yield run


def _pieces(run: Sequence[Row], value: Callable[[Row], float | None]) -> Iterator[list[tuple[float, float]]]:
    """Stretches of a run in which there is a value, as (at_s, value)."""
    piece: list[tuple[float, float]] = []
    for row in run:
        number = value(row)
        if number is not None:
            piece.append((row.at_s, number))
        elif piece:
            yield piece
            piece = []
    if piece:
        yield piece


def _heading(canvas: Canvas, history: History, node: str, utc_offset_s: float | None) -> None:
    canvas.text(LEFT, 34, f"Clock of {node}", "title")
    last, figures = history.rows[-1], history.figures()
    span = f"{age_text(history.seconds)}, in the grandmaster's own time"
    if utc_offset_s is not None:
        ends = [
            utc_of(history.newest_ptp_ns + round(at_s * 1e9), utc_offset_s)
            for at_s in (history.end_s - history.seconds, history.end_s)
        ]
        texts = [end.strftime("%Y-%m-%d %H:%M:%S") for end in ends if end is not None]
        if len(texts) == 2:
            until = texts[1][11:] if texts[0][:10] == texts[1][:10] else texts[1]
            span = f"{texts[0]} to {until} UTC"
    parts = [span, f"at its end {last.state.value}, ± {format_duration(last.bound_ns)}, epoch {last.epoch}"]
    parts += [f"grandmaster {last.grandmaster}"] if last.grandmaster else []
    parts += [f"{history.damaged} damaged lines left out"] if history.damaged else []
    canvas.text(LEFT, 56, " · ".join(parts))
    shares = ", ".join(f"{state} {share:.4g} %" for state, share in figures["share_pct"].items() if share)
    bound = (
        f"bound: median {format_duration(figures['bound_median_ns'])}, max {format_duration(figures['bound_max_ns'])}"
    )
    offset = "no offset measured"
    if figures["offset_rms_ns"] is not None:
        offset = (
            f"offset: rms {format_duration(figures['offset_rms_ns'])}, max {format_duration(figures['offset_max_ns'])}"
        )
    canvas.text(LEFT, 75, f"{shares} of {figures['lines']:,} lines · {bound} · {offset}")
    _legend(canvas)


def _legend(canvas: Canvas) -> None:
    x, y = LEFT, 99.0
    names = (("offset", "offset to the master"), ("bound", "± bound of a stamp"), ("limit", "± limit"))
    for kind, name in (*names, ("epoch", "new epoch"), ("event error", "event")):
        if kind == "bound":
            canvas.box((x, y - 10), (22, 11), kind)
        else:
            canvas.line([(x, y - 4), (x + 22, y - 4)], kind)
        canvas.text(x + 28, y, name)
        x += 46 + 6.9 * len(name)
    for kind in ("locked", "holdover", "unlocked"):
        canvas.box((x, y - 10), (14, 11), kind)
        canvas.text(x + 20, y, kind)
        x += 38 + 6.9 * len(kind)
    canvas.box((x, y - 10), (14, 11), "frame", ' style="fill:url(#gap)"')
    canvas.text(x + 20, y, "no data")


def _states(canvas: Canvas, panel: _Panel, runs: Sequence[Sequence[Row]]) -> None:
    """A band behind the panel and a solid strip on top of it, from each change of state to the next."""
    for run in runs:
        first = run[0]
        for row, following in zip(run, [*run[1:], None], strict=True):
            if following is None or following.state is not first.state:
                left, right = panel.x(first.at_s), panel.x(row.at_s + 1.0 if following is None else following.at_s)
                canvas.box((left, panel.top), (right - left, panel.height), f"{first.state.value} band")
                canvas.box((left, panel.top), (right - left, 5), first.state.value)
                first = following or row


def _no_data(canvas: Canvas, panel: _Panel, runs: Sequence[Sequence[Row]]) -> None:
    ends = [(panel.start_s, runs[0][0].at_s)]
    ends += [(one[-1].at_s + 1.0, other[0].at_s) for one, other in pairwise(runs)]
    ends.append((runs[-1][-1].at_s + 1.0, panel.end_s))
    for begin_s, end_s in ends:
        if end_s - begin_s > GAP_S - 1.0:
            left, right = panel.x(begin_s), panel.x(end_s)
            canvas.box((left, panel.top), (right - left, panel.height), "", ' style="fill:url(#gap);fill-opacity:.5"')
            if right - left > 70:
                canvas.text((left + right) / 2, panel.top + panel.height / 2 + 4, "no data", "mid over")


def _time_ticks(canvas: Canvas, panels: tuple[_Panel, _Panel], clock_s: float | None) -> None:
    upper, lower = panels
    span_s = upper.end_s - upper.start_s
    step_s = time_step_s(span_s)
    base_s = clock_s or 0.0
    for place in range(math.ceil((base_s + upper.start_s) / step_s), math.floor((base_s + upper.end_s) / step_s) + 1):
        at_s = place * step_s - base_s
        x = upper.x(at_s)
        for panel in panels:
            canvas.line([(x, panel.top), (x, panel.top + panel.height)], "grid")
        text = time_label(at_s, clock_s, step_s < 60)
        canvas.text(x, lower.top + lower.height + 18, text, "mid")
    canvas.text(LEFT - 36, lower.top + lower.height + 18, "UTC" if clock_s is not None else "ago", "end")


def _value_ticks(canvas: Canvas, panel: _Panel, axis: Axis, most: int) -> None:
    for value, text in axis.ticks(most):
        y = panel.y(axis, value)
        canvas.line([(LEFT, y), (RIGHT, y)], "zero" if value == 0 else "grid")
        canvas.text(LEFT - 8, y + 4, text.replace("-", "−"), "end")


def _errors(canvas: Canvas, panel: _Panel, runs: Sequence[Sequence[Row]], limit_ns: float) -> None:
    """Offset within plus and minus bound, beside the limit."""
    axis = error_axis([row for run in runs for row in run], limit_ns)
    _value_ticks(canvas, panel, axis, 9)
    scale = f", logarithmic beyond ± {format_duration(axis.bend)}" if axis.bend else ""
    canvas.text(LEFT, panel.top - 8, f"offset and bound{scale}", "h over")
    for run in runs:
        above = thinned([(panel.x(row.at_s), panel.y(axis, row.bound_ns)) for row in run])
        mirror = 2 * panel.y(axis, 0.0)
        canvas.area([*above, *((x, mirror - y) for x, y in reversed(above))], "bound")
    for run in runs:
        for piece in _pieces(run, lambda row: row.offset_ns):
            canvas.line(thinned([(panel.x(at_s), panel.y(axis, value)) for at_s, value in piece]), "offset")
    for edge_ns in (limit_ns, -limit_ns):
        y = panel.y(axis, edge_ns)
        canvas.line([(LEFT, y), (RIGHT, y)], "limit")
    canvas.text(RIGHT - 6, panel.y(axis, limit_ns) - 5, f"limit {format_duration(limit_ns)}", "end over")


def _delays(canvas: Canvas, panel: _Panel, runs: Sequence[Sequence[Row]]) -> None:
    canvas.text(LEFT, panel.top - 8, "path delay to the master", "h over")
    pieces = [piece for run in runs for piece in _pieces(run, lambda row: row.path_delay_ns)]
    if not pieces:
        canvas.text((LEFT + RIGHT) / 2, panel.top + panel.height / 2 + 4, "not measured", "mid over")
        return
    axis = delay_axis([value for piece in pieces for _, value in piece])
    _value_ticks(canvas, panel, axis, 5)
    for piece in pieces:
        canvas.line(thinned([(panel.x(at_s), panel.y(axis, value)) for at_s, value in piece]), "delay")


def _epochs(canvas: Canvas, panels: tuple[_Panel, _Panel], rows: Sequence[Row]) -> None:
    labelled = -math.inf
    for before, row in pairwise(rows):
        if row.epoch == before.epoch:
            continue
        x, upper = panels[0].x(row.at_s), panels[0]
        for panel in panels:
            canvas.line([(x, panel.top), (x, panel.top + panel.height)], "epoch", f"epoch {row.epoch}")
        if x - labelled > 70:
            near_end = x > RIGHT - 80
            bottom = upper.top + upper.height - 8
            canvas.text(x + (-6 if near_end else 6), bottom, f"epoch {row.epoch}", "over end" if near_end else "over")
            labelled = x


def _pins(canvas: Canvas, panels: tuple[_Panel, _Panel], marks: Sequence[Mark]) -> None:
    """A numbered pin above each event's line, moved aside where they stand close."""
    upper, lower = panels
    at = [upper.x(mark.at_s) for mark in marks]
    places: list[float] = []
    for x in at:
        places.append(max(x, places[-1] + 20 if places else LEFT))
    for back in range(len(places) - 1, -1, -1):
        room = RIGHT - 20 * (len(places) - 1 - back)
        places[back] = min(places[back], room)
    for number, (mark, x, place) in enumerate(zip(marks, at, places, strict=True), 1):
        foot = [(x, upper.top + upper.height), (x, lower.top), (x, lower.top + lower.height)]
        canvas.line([(place, 124), (x, upper.top), *foot], f"event {mark.severity}", f"{mark.code}: {mark.text}")
        canvas.circle(place, 124, 8.5, f"pin {mark.severity}")
        canvas.text(place, 127.8, str(number), "mid number")


def _list(canvas: Canvas, history: History, marks: Sequence[Mark], clock_s: float | None) -> float:
    """The events in words below; returns the height of the page."""
    y = _LOW[0] + _LOW[1] + 52
    if not marks:
        return y - 10
    more = len(history.marks) - len(marks)
    canvas.text(LEFT, y, f"Events{f' (the gravest {len(marks)} of {len(marks) + more})' if more else ''}", "h")
    for number, mark in enumerate(marks, 1):
        y += 21
        canvas.circle(LEFT + 9, y - 4, 8.5, f"pin {mark.severity}")
        canvas.text(LEFT + 9, y - 0.2, str(number), "mid number")
        canvas.text(LEFT + 28, y, time_label(mark.at_s, clock_s, True))
        canvas.text(LEFT + 112, y, mark.code)
        canvas.text(LEFT + 252, y, mark.text if len(mark.text) <= 124 else mark.text[:123] + "…")
    return y + 24
