"""Parts of an SVG picture in the order they are drawn, with the page around them. Pure: numbers and words in, text out.

What is drawn by class is coloured by the page's own style. Words may come from anywhere: they are escaped, and what
cannot be printed is left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

_GAP = (
    '<defs><pattern id="gap" width="8" height="8" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    '<line x1="0" y1="0" x2="0" y2="8" class="hatch"/></pattern></defs>'
)
_LEAST_PX = 0.6  # narrower boxes are not seen


class Canvas:
    """Collects shapes; ``kind`` is their class. Coordinates are px from the upper left corner."""

    def __init__(self) -> None:
        self._parts: list[str] = []

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """Words whose base line is at ``y``."""
        self._parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{_class(kind)}>{_clean(text)}</text>')

    def line(self, points: Sequence[tuple[float, float]], kind: str, title: str = "") -> None:
        """A line through points; ``title`` is shown where the pointer rests on it."""
        clean = _clean(title)
        inside = f"<title>{clean}</title>" if clean else ""
        self._parts.append(f'<polyline points="{_joined(points)}"{_class(kind)}>{inside}</polyline>')

    def area(self, points: Sequence[tuple[float, float]], kind: str) -> None:
        """A filled outline."""
        self._parts.append(f'<polygon points="{_joined(points)}"{_class(kind)}/>')

    def box(self, corner: tuple[float, float], size: tuple[float, float], kind: str, extra: str = "") -> None:
        """A rectangle from its upper left corner; ``extra``: further attributes, as they stand in SVG."""
        place = f'x="{corner[0]:.1f}" y="{corner[1]:.1f}" width="{max(size[0], _LEAST_PX):.1f}" height="{size[1]:.1f}"'
        self._parts.append(f"<rect {place}{_class(kind)}{extra}/>")

    def circle(self, x: float, y: float, radius: float, kind: str) -> None:
        """A circle about a point."""
        self._parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}"{_class(kind)}/>')

    def page(self, title: str, style: str, size: tuple[int, float]) -> str:
        """The whole picture. ``style``: CSS with the classes ``bg`` and ``hatch``; the pattern ``gap`` is there."""
        width, height = size
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height:.0f}" '
            f'viewBox="0 0 {width} {height:.0f}" role="img"><title>{_clean(title)}</title><style>{style}</style>{_GAP}'
            f'<rect width="{width}" height="{height:.0f}" rx="8" class="bg"/>\n' + "\n".join(self._parts) + "\n</svg>\n"
        )


def _clean(text: str) -> str:
    return escape("".join(letter for letter in text if letter.isprintable()))


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
