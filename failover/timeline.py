"""A drill as a picture: lanes of both nodes, witness, rack and recording; marks and budgets. Pure: report in, SVG out.

Two panels on one page: the switch, from the cut to the last step, and the whole drill with the links' return. Times
count from the cut. Reports are files that people keep and edit: whatever cannot be drawn is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from failover.drill_report import KINDS, LANES
from touchline.canvas import Canvas

WIDTH: Final = 1200
LEFT: Final = 128.0
RIGHT: Final = 1176.0
_PIN_ROOM: Final = 20.0
_MAX_MARKS: Final = 40
_AFTER: Final = ("restored", "heard again")  # of the whole drill, not of the switch
_BUDGETS: Final = (("detect", 0), ("lease", 0), ("gate", 0), ("address", 1), ("announce", 1), ("recorder", 2))
_ROW_PX: Final = 17.0

_STYLE: Final = """
text{font-family:system-ui,"DejaVu Sans",sans-serif;font-size:12px;fill:#3c4858}
.bg{fill:#fff}.title{font-size:20px;font-weight:600;fill:#1b2430}.h{font-size:13px;font-weight:600;fill:#1b2430}
.frame{fill:none;stroke:#8a95a3}.grid{stroke:#8a95a3;stroke-opacity:.28}.zero{stroke:#c8323c;stroke-width:1.6}
.node{fill:#0b63c5;fill-opacity:.85}.twin{fill:#e08e00;fill-opacity:.9}.idle{fill:#8a95a3;fill-opacity:.22}
.cut{fill:#c8323c;fill-opacity:.13}.budget{fill:#6d4bb5;fill-opacity:.2;stroke:#6d4bb5;stroke-opacity:.6}
.limit{stroke:#c8323c;stroke-width:1.5;stroke-dasharray:7 4}.event{stroke:#1b2430;stroke-dasharray:2 3;fill:none}
.pin{fill:#fff;stroke:#1b2430;stroke-width:1.4}.dot{fill:#1b2430}.number{font-size:10.5px;font-weight:600}
.small{font-size:11px}.good{fill:#1f8a4c;font-weight:600}.bad{fill:#c8323c;font-weight:600}
.end{text-anchor:end}.mid{text-anchor:middle}.hatch{stroke:#c8323c;stroke-width:1.4;stroke-opacity:.6}
.in{fill:#fff;font-weight:600}.over{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}
@media(prefers-color-scheme:dark){text{fill:#aab6c4}.bg{fill:#11161c}.title,.h{fill:#e8eef5}.node{fill:#3d8ff0}
.twin{fill:#d99413}.zero,.limit,.hatch{stroke:#ef5b64}.cut{fill:#ef5b64;fill-opacity:.16}
.budget{fill:#b79bf2;stroke:#b79bf2}.event,.pin{stroke:#e8eef5}.pin{fill:#11161c}.dot{fill:#e8eef5}
.good{fill:#3fbf74}.bad{fill:#ef5b64}.in{fill:#0b0f14}.over{stroke:#11161c}}
"""


@dataclass(frozen=True, slots=True)
class _Mark:
    lane: str
    kind: str
    at_ms: float
    text: str


@dataclass(frozen=True, slots=True)
class _Span:
    """A stretch of a lane. ``kind``: node, twin, idle or gap (nothing where something should be)."""

    lane: str
    start_ms: float
    end_ms: float
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    top: float
    lane_px: float
    start_ms: float
    end_ms: float
    marks: tuple[_Mark, ...]

    @property
    def bottom(self) -> float:
        return self.top + self.lane_px * len(LANES)

    def x(self, at_ms: float) -> float:
        share = (at_ms - self.start_ms) / (self.end_ms - self.start_ms)
        return LEFT + min(max(share, 0.0), 1.0) * (RIGHT - LEFT)

    def y(self, lane: str) -> float:
        return self.top + self.lane_px * LANES.index(lane)


def draw(report: Mapping[str, Any]) -> str:
    """Return the SVG of a drill's report (:func:`failover.drill_report.compose`)."""
    marks = _marks(report)
    was_cut_ms = _number(report.get("was_cut_ms"))
    end_ms = max([one.at_ms for one in marks] + [was_cut_ms or 0.0, 100.0])
    switch = [one for one in marks if one.kind not in _AFTER]
    zoom_ms = max([one.at_ms for one in switch if one.kind != "cut"] + [60.0]) * 1.25
    zoom_ms = max(zoom_ms, _planned_ms(report, marks) * 1.04)
    begin_ms = min([one.at_ms for one in marks] + [0.0]) - zoom_ms * 0.06
    upper = _Panel("the switch", 172.0, 40.0, begin_ms, zoom_ms, tuple(switch))
    rest = tuple(one for one in marks if one.kind in _AFTER or one.kind == "cut")
    budget_rows = 3 * _ROW_PX + 46
    lower = _Panel("the whole drill", upper.bottom + budget_rows + 66, 22.0, begin_ms * 2, end_ms * 1.06, rest)
    spans = list(_spans(report, marks, lower.end_ms))
    canvas = Canvas()
    _heading(canvas, report)
    numbers = {mark: number for number, mark in enumerate(marks, 1)}
    for panel in (upper, lower):
        _lanes(canvas, panel, report, spans, was_cut_ms)
        _limit(canvas, panel)
        _pins(canvas, panel, numbers)
        canvas.box((LEFT, panel.top), (RIGHT - LEFT, panel.bottom - panel.top), "frame")
    _budgets(canvas, upper, report, marks)
    bottom = _list(canvas, lower.bottom + 56, report, numbers)
    return canvas.page(_title(report), _STYLE, (WIDTH, bottom))


def _title(report: Mapping[str, Any]) -> str:
    return f"Drill on {_word(report, 'node')}, twin {_word(report, 'twin')}"


def _word(report: Mapping[str, Any], name: str, most: int = 140) -> str:
    text = report.get(name)
    text = text if isinstance(text, str) else ""
    text = "".join(letter for letter in text if letter.isprintable())
    return text if len(text) <= most else text[: most - 1] + "…"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e8:
        return None
    return float(value)


def _marks(report: Mapping[str, Any]) -> list[_Mark]:
    found = []
    listed = report.get("marks")
    for one in listed if isinstance(listed, list) else []:
        at_ms = _number(one.get("at_ms")) if isinstance(one, dict) else None
        if at_ms is not None and one.get("lane") in LANES and one.get("kind") in KINDS:
            found.append(_Mark(one["lane"], one["kind"], at_ms, _word(one, "text", 100)))
    found.sort(key=lambda one: (one.at_ms, KINDS.index(one.kind)))
    return list(dict.fromkeys(found))[:_MAX_MARKS]


def _at(marks: Sequence[_Mark], kind: str) -> float | None:
    return next((one.at_ms for one in marks if one.kind == kind), None)


def _spans(report: Mapping[str, Any], marks: Sequence[_Mark], end_ms: float) -> Iterator[_Span]:
    """Who did what when, from the marks; what no mark tells is not drawn."""
    node, twin = _word(report, "node", 16), _word(report, "twin", 16)
    always = -1e9
    fenced, gate, lease = _at(marks, "fenced"), _at(marks, "gate"), _at(marks, "lease")
    first, recorder = _at(marks, "first frame"), _at(marks, "recorder")
    yield _Span("node", always, 0.0 if fenced is None else fenced, "node", "active")
    if fenced is not None:
        yield _Span("node", fenced, end_ms, "idle", "standby, gate shut")
    yield _Span("twin", always, end_ms if gate is None else gate, "idle", "standby")
    if gate is not None:
        yield _Span("twin", gate, end_ms, "twin", "active")
    yield _Span("witness", always, end_ms if lease is None else lease, "node", f"lease: {node}")
    if lease is not None:
        yield _Span("witness", lease, end_ms, "twin", f"lease: {twin}")
    yield _Span("rack", always, 0.0, "node", f"frames of {node}")
    yield _Span("rack", 0.0, end_ms if first is None else first, "gap", "nothing arrives")
    if first is not None:
        yield _Span("rack", first, end_ms, "twin", f"frames of {twin}")
    yield _Span("recording", always, 0.0 if fenced is None else fenced, "node", f"by {node}")
    if recorder is not None:
        yield _Span("recording", recorder, end_ms, "twin", f"by {twin}")


def _heading(canvas: Canvas, report: Mapping[str, Any]) -> None:
    canvas.text(LEFT, 34, _title(report), "title")
    cut_ms, was_ms = _number(report.get("cut_ms")), _number(report.get("was_cut_ms"))
    parts = [_word(report, "at"), f"links cut: {_word(report, 'links', 60) or 'none'}"]
    parts.append(f"{cut_ms or 0:g} ms asked, {'never cut' if was_ms is None else f'{was_ms:.0f} ms cut'}")
    parts += ["forced in a match window"] if report.get("forced") is True else []
    canvas.text(LEFT, 56, " · ".join(parts))
    canvas.text(LEFT, 77, _word(report, "summary", 150), "good" if report.get("ok") is True else "bad")
    x = LEFT
    for kind, name in (("node", "the drilled node"), ("twin", "its twin"), ("idle", "idle"), ("gap", "nothing")):
        extra = ' style="fill:url(#gap)"' if kind == "gap" else ""
        canvas.box((x, 92), (16, 11), kind, extra)
        canvas.text(x + 22, 101.5, name)
        x += 42 + 6.9 * len(name)
    for kind, name in (("cut", "links cut"), ("budget", "planned budget")):
        canvas.box((x, 92), (16, 11), kind)
        canvas.text(x + 22, 101.5, name)
        x += 42 + 6.9 * len(name)
    canvas.line([(x, 97.5), (x + 20, 97.5)], "limit")
    canvas.text(x + 26, 101.5, "limit 800 ms (FOV-1)")


def _lanes(
    canvas: Canvas, panel: _Panel, report: Mapping[str, Any], spans: Sequence[_Span], was_cut_ms: float | None
) -> None:
    canvas.text(LEFT, panel.top - 44, panel.title, "h")
    names = {"node": _word(report, "node", 16), "twin": _word(report, "twin", 16)}
    pad = panel.lane_px * 0.17
    if was_cut_ms is not None:
        left, right = panel.x(0.0), panel.x(was_cut_ms)
        canvas.box((left, panel.top), (right - left, panel.bottom - panel.top), "cut")
    for lane in LANES:
        y = panel.y(lane)
        canvas.text(LEFT - 10, y + panel.lane_px / 2 + 4, names.get(lane, lane), "end h" if lane in names else "end")
        canvas.line([(LEFT, y), (RIGHT, y)], "grid")
    for span in spans:
        left, right = panel.x(span.start_ms), panel.x(span.end_ms)
        if right - left < 0.5:
            continue
        y, height = panel.y(span.lane) + pad, panel.lane_px - 2 * pad
        canvas.box((left, y), (right - left, height), span.kind, ' fill="url(#gap)"' if span.kind == "gap" else "")
        if right - left > 7.2 * len(span.text) + 12 and panel.lane_px > 20:
            inside = "in small" if span.kind in ("node", "twin") else "small over"
            canvas.text(left + 6, y + height / 2 + 4, span.text, inside)
    _ticks(canvas, panel)
    canvas.line([(panel.x(0.0), panel.top), (panel.x(0.0), panel.bottom)], "zero")


def _ticks(canvas: Canvas, panel: _Panel) -> None:
    step = _step(panel.end_ms - panel.start_ms)
    for place in range(math.ceil(panel.start_ms / step), math.floor(panel.end_ms / step) + 1):
        x = panel.x(place * step)
        canvas.line([(x, panel.top), (x, panel.bottom)], "grid")
        canvas.text(x, panel.bottom + 16, f"{place * step:,.0f}".replace("-", "−"), "mid small")
    canvas.text(LEFT - 10, panel.bottom + 16, "ms from the cut", "end small")


def _step(span_ms: float) -> float:
    """A round distance of the ticks: about twelve of them."""
    rough = max(span_ms, 1e-3) / 12
    power = 10.0 ** math.floor(math.log10(rough))
    return max(1.0, next(one * power for one in (1, 2, 5, 10) if one * power >= rough))


def _limit(canvas: Canvas, panel: _Panel) -> None:
    if panel.start_ms < 800.0 < panel.end_ms:
        canvas.line([(panel.x(800.0), panel.top), (panel.x(800.0), panel.bottom)], "limit")


def _pins(canvas: Canvas, panel: _Panel, numbers: Mapping[_Mark, int]) -> None:
    """A numbered pin above each mark, moved aside where they stand close, and a dot on its lane."""
    marks = [one for one in panel.marks if one in numbers]
    places: list[float] = []
    for mark in marks:
        places.append(max(panel.x(mark.at_ms), places[-1] + _PIN_ROOM if places else LEFT))
    for back in range(len(places) - 1, -1, -1):
        places[back] = min(places[back], RIGHT - _PIN_ROOM * (len(places) - 1 - back))
    for mark, place in zip(marks, places, strict=True):
        x, y = panel.x(mark.at_ms), panel.y(mark.lane) + panel.lane_px / 2
        title = f"{mark.kind}, {mark.at_ms:.1f} ms {mark.text}"
        canvas.line([(place, panel.top - 20), (x, panel.top), (x, y)], "event", title)
        canvas.circle(x, y, 3.2, "dot")
        canvas.circle(place, panel.top - 20, 8.5, "pin")
        canvas.text(place, panel.top - 16.2, str(numbers[mark]), "mid number")


def _planned(report: Mapping[str, Any], marks: Sequence[_Mark]) -> Iterator[tuple[str, float, float, int]]:
    """The budgets' bars: name, begin, end, row. Detection and lease follow each other, the rest begins together."""
    budgets = report.get("budgets")
    planned = {name: _number(value) for name, value in budgets.items()} if isinstance(budgets, dict) else {}
    at_ms = _at(marks, "last beat") or 0.0
    ends: dict[int, float] = {}
    for name, row in _BUDGETS:
        length = planned.get(name)
        if length is None or length <= 0:
            continue
        begin = at_ms if name in ("detect", "lease") else max(at_ms, ends.get(row, at_ms))
        yield name, begin, begin + length, row
        ends[row] = begin + length
        if name in ("detect", "lease"):
            at_ms = begin + length


def _planned_ms(report: Mapping[str, Any], marks: Sequence[_Mark]) -> float:
    return max((end for _, _, end, _ in _planned(report, marks)), default=0.0)


def _budgets(canvas: Canvas, panel: _Panel, report: Mapping[str, Any], marks: Sequence[_Mark]) -> None:
    top = panel.bottom + 30
    canvas.text(LEFT - 10, top + 12, "budget", "end")
    for name, begin, end, row in _planned(report, marks):
        left, right, y = panel.x(begin), panel.x(end), top + row * _ROW_PX
        canvas.box((left, y), (right - left, _ROW_PX - 3), "budget")
        text = f"{name} {end - begin:g} ms"
        if right - left > 6.4 * len(text) + 8:
            canvas.text(left + 5, y + 11, text, "small")
        elif right + 6.4 * len(text) < RIGHT and name in ("announce", "gate", "recorder"):
            canvas.text(right + 5, y + 11, text, "small")
        elif right - left > 6.4 * len(name) + 6:
            canvas.text(left + 4, y + 11, name, "small")


def _list(canvas: Canvas, y: float, report: Mapping[str, Any], numbers: Mapping[_Mark, int]) -> float:
    """Marks and checks in words; returns the height of the page."""
    names = {"node": _word(report, "node", 16), "twin": _word(report, "twin", 16)}
    canvas.text(LEFT, y, "marks", "h")
    canvas.text(700, y, "checks", "h")
    row = y
    for mark, number in numbers.items():
        row += 20
        canvas.circle(LEFT + 9, row - 4, 8.5, "pin")
        canvas.text(LEFT + 9, row - 0.2, str(number), "mid number")
        canvas.text(LEFT + 98, row, f"{mark.at_ms:,.1f} ms".replace("-", "−"), "end")
        canvas.text(LEFT + 110, row, names.get(mark.lane, mark.lane))
        words = f"{mark.kind}: {mark.text}" if mark.text else mark.kind
        canvas.text(LEFT + 222, row, words if len(words) <= 50 else words[:49] + "…")
    other = y
    checks = report.get("checks")
    for check in checks if isinstance(checks, list) else []:
        if not isinstance(check, dict):
            continue
        other += 20
        result, value, limit = check.get("result"), _number(check.get("value")), _number(check.get("limit"))
        unit = _word(check, "unit", 8)
        canvas.text(700, other, _word(check, "check", 40))
        canvas.text(990, other, "-" if value is None else f"{value:,.1f} {unit}" if unit else f"{value:g}", "end")
        canvas.text(1002, other, "" if limit is None else f"≤ {limit:g} {unit}".strip())
        canvas.text(1096, other, _word(check, "result", 16), {"ok": "good", "failed": "bad"}.get(str(result), ""))
    return max(row, other) + 30
