"""The picture of a drill: well formed, complete, legible in light and dark, and drawn from any report."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.drill_report import KINDS, LANES
from failover.timeline import LEFT, RIGHT, WIDTH, draw
from tests.failover.drills import example

SVG = "{http://www.w3.org/2000/svg}"


def texts(picture: str) -> list[str]:
    return [one.text or "" for one in ElementTree.fromstring(picture).iter(f"{SVG}text")]


def test_lanes_marks_budgets_and_checks_are_there():
    report = example()
    said = texts(draw(report))
    for word in ("pitch-a1", "pitch-a2", "witness", "rack", "recording", "budget", "detect 80 ms", "nothing arrives"):
        assert word in said
    for mark in report["marks"]:
        assert any(text.split(":")[0] == mark["kind"] for text in said), mark
    for check in report["checks"]:
        assert check["check"] in said
    assert "ok: switched 101 ms after the cut" in said


def test_the_cut_is_as_long_as_it_was():
    picture = draw(example())
    boxes = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)" height="[\d.]+" class="cut"', picture)
    _legend, zoom, whole = [(float(x), float(width)) for x, width in boxes]
    assert zoom[0] + zoom[1] == pytest.approx(RIGHT, abs=0.2)  # beyond the panel's end
    begin, end = -11.4 * 2, 3_180 * 1.06
    assert whole[1] == pytest.approx(1_003 / (end - begin) * (RIGHT - LEFT), rel=0.01)


def test_bad_words_neither_break_nor_enter_the_picture():
    report = example()
    report["node"] = '<script>"&\x00'
    report["marks"][0]["text"] = "</svg><b>" * 40
    picture = draw(report)
    assert "<script>" not in picture and "</svg><b>" not in picture
    ElementTree.fromstring(picture)


numbers = st.none() | st.floats() | st.integers() | st.text(max_size=3) | st.booleans()


@given(
    st.lists(
        st.fixed_dictionaries(
            {"lane": st.sampled_from([*LANES, "moon"]), "kind": st.sampled_from([*KINDS, "?"]), "at_ms": numbers},
            optional={"text": st.text(max_size=200)},
        )
        | st.none(),
        max_size=60,
    ),
    numbers,
    st.dictionaries(st.sampled_from(["detect", "lease", "gate", "announce", "other"]), numbers),
    st.lists(
        st.dictionaries(st.sampled_from(["check", "value", "limit", "unit", "result"]), numbers, max_size=5) | st.none()
    ),
)
def test_any_report_is_drawn_within_the_page(marks, was_cut_ms, budgets, checks):
    report = {"marks": marks, "was_cut_ms": was_cut_ms, "budgets": budgets, "checks": checks, "node": 3, "cut_ms": "x"}
    picture = draw(report)
    root = ElementTree.fromstring(picture)
    assert "nan" not in picture and "inf" not in re.sub(r"font-family.*", "", picture)
    for one in root.iter(f"{SVG}rect"):
        if "class" in one.attrib and one.attrib["class"] != "bg":
            assert float(one.attrib["x"]) >= 0 and float(one.attrib["width"]) > 0
            assert float(one.attrib["x"]) + float(one.attrib["width"]) <= WIDTH + 1
    for one in root.iter(f"{SVG}circle"):
        assert 0 <= float(one.attrib["cx"]) <= WIDTH


def test_an_empty_report_is_drawn_too():
    ElementTree.fromstring(draw({}))


@pytest.mark.system
def test_a_browser_shows_every_word_within_the_page_in_light_and_dark(tmp_path):
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed (apt install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    picture = tmp_path / "drill.svg"
    picture.write_text(draw(example()))
    with playwright.sync_playwright() as control:
        browser = control.chromium.launch(
            executable_path=chromium,
            args=["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
            timeout=120_000,
        )
        for scheme, dark in (("light", False), ("dark", True)):
            page = browser.new_page(color_scheme=scheme, viewport={"width": 1240, "height": 1100})
            page.goto(picture.as_uri())
            boxes = page.evaluate(
                "[...document.querySelectorAll('text')].map(t => ({text: t.textContent, x: t.getBBox().x,"
                " y: t.getBBox().y,"
                " right: t.getBBox().x + t.getBBox().width, bottom: t.getBBox().y + t.getBBox().height,"
                " kind: t.getAttribute('class') || '', fill: getComputedStyle(t).fill}))"
            )
            assert len(boxes) > 80
            for box in boxes:
                assert box["x"] >= 0 and box["right"] <= WIDTH, box
                if "in" not in box["kind"].split():
                    light = sum(int(one) for one in re.findall(r"\d+", box["fill"])[:3])
                    assert (light > 380) is dark or "good" in box["kind"] or "number" in box["kind"], box
            words = [box for box in boxes if len(box["text"]) > 2]
            for one in words:
                for other in words:
                    apart = one is other or one["right"] <= other["x"] or other["right"] <= one["x"]
                    assert apart or one["bottom"] <= other["y"] + 4 or other["bottom"] <= one["y"] + 4, (one, other)
        browser.close()


def test_the_picture_in_the_documents_is_what_is_drawn():
    shown = Path(__file__).resolve().parents[2] / "docs" / "images" / "drill.svg"
    assert shown.read_text() == draw(example()), "write it anew: draw(tests.failover.drills.example())"
