"""The clock's plot: valid, complete, honest about gaps; a browser shows it as meant."""

from __future__ import annotations

import math
import re
import shutil
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.clock.axes import Axis, delay_axis, error_axis, nice_step, time_label, time_step_s
from agent.clock.history import History, Mark, Row
from agent.clock.plot import LEFT, MAX_MARKS, RIGHT, WIDTH, chosen_marks, draw, thinned
from tests.agent.clock.orin_history import orin_history, orin_plot
from touchline.timeline import ClockState

PTP_NS = 1_800_000_000_000_000_000
SVG = "{http://www.w3.org/2000/svg}"


def rows(count: int, state: ClockState = ClockState.LOCKED, **changes) -> list[Row]:
    """A row a second, up to the newest at 0."""
    plain = {"bound_ns": 84.0, "epoch": 1, "offset_ns": -12.0, "path_delay_ns": 812.0, **changes}
    return [Row(float(at - count + 1), PTP_NS, state=state, **plain) for at in range(count)]


def history(lines: list[Row], marks: list[Mark] | None = None, **changes) -> History:
    return History(600.0, rows=lines, marks=marks or [], newest_ptp_ns=PTP_NS, silent_s=0.0, **changes)


def drawn(past: History, limit_ns: float = 1_000.0, utc_offset_s: float | None = 37.0) -> ElementTree.Element:
    return ElementTree.fromstring(draw(past, node="orin-a", limit_ns=limit_ns, utc_offset_s=utc_offset_s))


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def of_class(root: ElementTree.Element, kind: str) -> list[ElementTree.Element]:
    return [element for element in root.iter() if element.get("class") == kind]


def points(element: ElementTree.Element) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in (pair.split(",") for pair in (element.get("points") or "").split())]


def test_the_synthetic_orins_life_is_all_there():
    root = ElementTree.fromstring(orin_plot())
    said = texts(root)
    assert "Clock of orin-a" in said and "2027-01-15 07:59:22 to 08:09:22 UTC" in " ".join(said)
    for word in ("epoch 2", "epoch 3", "limit 1 µs", "clock_step", "clock_grandmaster", "08:05", "10 µs", "−100 ns"):
        assert word in said, word
    assert any("logarithmic" in text for text in said)
    for state in ClockState:
        assert of_class(root, f"{state.value} band")
    assert len(of_class(root, "epoch")) == 1 + 2 * 2, "the legend's, and one a panel for each"
    assert len(orin_history().marks) >= 10


def test_the_pages_example_is_such_a_plot(repo):
    shown = ElementTree.parse(repo / "docs" / "images" / "clock-plot.svg").getroot()
    assert {"Clock of orin-a", "offset to the master", "path delay to the master"} <= set(texts(shown))
    assert "images/clock-plot.svg" in (repo / "docs" / "clock.md").read_text()


def test_a_gap_is_not_bridged():
    lines = rows(300)
    del lines[100:200]
    root = drawn(history(lines))
    assert len(of_class(root, "offset")) == 1 + 2 and len(of_class(root, "delay")) == 2
    assert len(of_class(root, "bound")) == 1 + 2
    assert texts(root).count("no data") == 1 + 2 * 2, "legend; before and between in both panels"
    edges = [{points(one)[0][0], points(one)[-1][0]} for one in of_class(root, "delay")]
    assert max(edges[0]) < min(edges[1]) - 100


def test_what_was_not_measured_breaks_its_own_line_only():
    lines = rows(60)
    lines[30:40] = rows(60, offset_ns=None, path_delay_ns=None)[30:40]
    root = drawn(history(lines))
    assert len(of_class(root, "bound")) == 1 + 1 and len(of_class(root, "offset")) == 1 + 2
    bare = drawn(history(rows(60, offset_ns=None, path_delay_ns=None)))
    assert "not measured" in texts(bare) and any("no offset measured" in text for text in texts(bare))


def test_silence_up_to_the_present_is_shown():
    root = drawn(History(600.0, rows=rows(60), newest_ptp_ns=PTP_NS, silent_s=300.0))
    last_x = points(of_class(root, "delay")[0])[-1][0]
    assert last_x == pytest.approx((LEFT + RIGHT) / 2, abs=1.0)


def test_a_single_line_is_enough():
    assert "Clock of orin-a" in texts(drawn(history(rows(1))))
    with pytest.raises(ValueError, match="no rows"):
        drawn(history([]))


def test_a_time_that_is_no_tai_has_an_axis_that_counts_back():
    said = texts(drawn(history(rows(600)), utc_offset_s=None))
    assert "ago" in said and "5 min 00 s" in said and not any("UTC" in text for text in said)
    unset = History(600.0, rows=rows(600), newest_ptp_ns=5, silent_s=0.0)
    assert "ago" in texts(drawn(unset))


def test_many_events_are_cut_to_the_gravest_and_it_is_said():
    marks = [Mark(-float(at), PTP_NS, "info", "clock_locked", "again") for at in range(50, 0, -1)]
    marks.insert(3, Mark(-47.5, PTP_NS, "error", "clock_step", "the one"))
    chosen = chosen_marks(marks)
    assert len(chosen) == MAX_MARKS and chosen[0].text == "the one" and chosen[-1].at_s == -1.0
    root = drawn(history(rows(60), marks))
    assert f"Events (the gravest {MAX_MARKS} of 51)" in texts(root)
    pins = [float(pin.get("cx") or 0) for pin in root.iter(f"{SVG}circle") if pin.get("cy") == "124.0"]
    assert len(pins) == MAX_MARKS and all(b - a > 19 for a, b in pairwise(pins))
    assert max(pins) <= RIGHT


def test_thinning_keeps_every_spike():
    line = [(LEFT + at / 8.0, 100.0 + math.sin(at)) for at in range(8_000)]
    line[4_321] = (line[4_321][0], 7.0)
    thin = thinned(line)
    assert len(thin) <= 4 * 1_001 and (line[4_321][0], 7.0) in thin and thin == sorted(thin)
    assert thinned(line[:500]) == line[:500]


def test_the_axis_is_straight_unless_the_values_need_more():
    near, far = error_axis(rows(9), 400.0), error_axis([*rows(9), *rows(1, bound_ns=1e9)], 1_000.0)
    assert near.bend == 0.0 and far.bend == 10.0
    assert near.place(0.0) == far.place(0.0) == 0.5 and far.place(1e12) == 1.0
    marks = far.ticks(9)
    assert (0.0, "0") in marks and (10.0, "10 ns") in marks and len(marks) <= 13
    assert [text for _, text in Axis(0.0, 10.0).ticks(5)] == ["0", "2 ns", "4 ns", "6 ns", "8 ns", "10 ns"]


def test_ticks_that_differ_are_written_so_that_they_differ():
    texts_of = [text for _, text in delay_axis([6_200_000.0, 6_200_140.0]).ticks(5)]
    assert len(set(texts_of)) == len(texts_of) >= 3 and texts_of[0].startswith("6.2000")


@given(st.floats(1e-3, 1e15), st.floats(1e-3, 1e15), st.sampled_from([0.0, 1.0, 10.0, 1e4]))
def test_axes_keep_the_order(one, other, bend):
    axis = Axis(-1e15, 1e15, bend)
    low, high = sorted((one, other))
    assert 0.0 <= axis.place(-high) <= axis.place(-low) <= 0.5 <= axis.place(low) <= axis.place(high) <= 1.0
    assert 1 <= len(Axis(-high, high, bend).ticks(9)) <= 20


@given(st.floats(1e-6, 1e15))
def test_steps_are_round_and_large_enough(least):
    step = nice_step(least)
    assert least * 0.999 <= step <= 10.001 * least
    assert re.match(r"[125](\.0+\d?)?e", f"{step:.9e}")


def test_times_of_day():
    assert time_label(-60.0, 30.0, False) == "23:59" and time_label(5.0, 86_390.0, True) == "23:59:55"
    assert [time_step_s(span) for span in (10, 600, 4_000, 86_400)] == [1, 60, 600, 14_400]


STATES = st.sampled_from(list(ClockState))
SIZES = st.floats(0, 9e18)
ODD_ROWS = st.builds(
    Row,
    at_s=st.floats(-700, 0),
    ptp_ns=st.integers(0, 1 << 62),
    bound_ns=SIZES,
    state=STATES,
    epoch=st.integers(0, 5),
    offset_ns=st.none() | st.floats(-9e18, 9e18),
    path_delay_ns=st.none() | st.floats(-9e18, 9e18),
    grandmaster=st.text(max_size=12),
)
ODD_MARKS = st.builds(
    Mark,
    at_s=st.floats(-700, 0),
    ptp_ns=st.integers(0, 1 << 62),
    severity=st.sampled_from(["info", "warning", "error"]),
    code=st.text(max_size=12),
    text=st.text(max_size=200),
)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(ODD_ROWS, min_size=1, max_size=12),
    st.lists(ODD_MARKS, max_size=20),
    st.floats(1, 1e10),
    st.integers(0, 1 << 62),
)
def test_whatever_happened_it_is_a_picture(lines, marks, limit_ns, newest_ptp_ns):
    past = History(
        600.0,
        rows=sorted(lines, key=lambda row: row.at_s),
        marks=sorted(marks, key=lambda mark: mark.at_s),
        newest_ptp_ns=newest_ptp_ns,
    )
    text = draw(past, node="orin-a", limit_ns=limit_ns, utc_offset_s=37.0)
    root = ElementTree.fromstring(text)
    assert not re.search(r'="[^"]*(nan|inf)[^"]*"', re.sub(r'class="[^"]*"', "", text))
    for element in root.iter():
        for x, y in points(element):
            assert 0 <= x <= WIDTH and 0 <= y <= float(root.get("height") or 0)


@pytest.mark.system
def test_a_browser_shows_it_without_text_over_the_edge(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    picture = tmp_path / "clock.svg"
    picture.write_text(orin_plot())
    with playwright.sync_playwright() as control:
        browser = control.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
        )
        for scheme in ("light", "dark"):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1240, "height": 1100})
            page.goto(picture.as_uri())
            boxes = page.evaluate(
                "[...document.querySelectorAll('text')].map(t => ({...t.getBBox().toJSON?.(), text: t.textContent,"
                " x: t.getBBox().x, right: t.getBBox().x + t.getBBox().width, fill: getComputedStyle(t).fill}))"
            )
            assert len(boxes) > 50
            for box in boxes:
                assert box["x"] >= 0 and box["right"] <= WIDTH, box
            ground = page.evaluate("getComputedStyle(document.querySelector('.bg')).fill")
            for fill in {box["fill"] for box in boxes}:
                assert contrast(fill, ground) >= 4.5, f"{fill} on {ground}"  # WCAG 2.1 AA
        browser.close()


def contrast(one: str, other: str) -> float:
    """Contrast of two CSS colours by WCAG 2.1."""
    lights = []
    for colour in (one, other):
        parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
        red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        lights.append(0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05)
    return max(lights) / min(lights)


def test_the_drawing_takes_no_file_and_no_heavy_library():
    source = (Path(__file__).parents[3] / "agent" / "clock" / "plot.py").read_text()
    assert not re.search(r"^\s*(import|from) (numpy|cv2|matplotlib)", source, re.M)
