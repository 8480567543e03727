"""Pictures: well formed whatever is written into them, shapes in the order they were drawn."""

from __future__ import annotations

from xml.etree import ElementTree

from hypothesis import given
from hypothesis import strategies as st

from touchline.canvas import Canvas

SVG = "{http://www.w3.org/2000/svg}"
PX = st.floats(-1e6, 1e6)
WORDS = st.text(max_size=40)


def drawn(canvas: Canvas, title: str = "t") -> list[ElementTree.Element]:
    """The shapes between the page's ground and its end."""
    root = ElementTree.fromstring(canvas.page(title, ".bg{fill:#fff}", (100, 50.0)))
    return list(root)[4:]


def test_shapes_stand_in_their_order_with_their_class():
    canvas = Canvas()
    canvas.box((1, 2), (0.0, 4), "frame", ' fill="url(#gap)"')
    canvas.line([(0, 0), (1.25, 2)], "grid", "why")
    canvas.area([(0, 0), (1, 0), (1, 1)], "bound")
    canvas.circle(5, 6, 8.5, "pin")
    canvas.text(3, 4, "a < b")
    box, line, area, circle, text = drawn(canvas)
    assert (box.get("width"), box.get("class"), box.get("fill")) == ("0.6", "frame", "url(#gap)"), "never too thin"
    assert (line.get("points"), line[0].text) == ("0.0,0.0 1.2,2.0", "why")
    assert (area.tag, len((area.get("points") or "").split())) == (f"{SVG}polygon", 3)
    assert (circle.get("r"), circle.get("class")) == ("8.5", "pin")
    assert (text.text, text.get("class")) == ("a < b", None)


def test_the_page_has_its_size_and_title_and_the_pattern_of_gaps():
    root = ElementTree.fromstring(Canvas().page('A "name" & more', ".bg{}", (1200, 333.4)))
    assert (root.get("viewBox"), root[0].text) == ("0 0 1200 333", 'A "name" & more')
    assert root.find(f"{SVG}defs/{SVG}pattern[@id='gap']") is not None


@given(WORDS, WORDS, WORDS, PX, PX)
def test_any_word_is_a_word_and_nothing_else(title, text, hover, x, y):
    canvas = Canvas()
    canvas.text(x, y, text, "mid")
    canvas.line([(x, y)], "grid", hover)
    words, line = drawn(canvas, title)
    assert (words.text or "") == "".join(letter for letter in text if letter.isprintable())
    assert len(words) == 0
    assert len(line) <= 1
