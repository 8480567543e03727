"""Clicked landmarks from a CVAT XML file, read with suspicion: no DTD, no entities, bounded size, one line per error.

Each ``<points label="(x,y)" points="u,v">`` is one landmark: the label is its place on the pitch in metres.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from touchline.errors import InputError

MAX_FILE_BYTES = 8_000_000
MAX_LANDMARKS = 5_000
MAX_SIDE_PX = 65_536

_NUMBER = r"\s*([+-]?\d{1,5}(?:\.\d{1,9})?)\s*"
_LABEL = re.compile(rf"\({_NUMBER},{_NUMBER}\)")
_POINT = re.compile(rf"{_NUMBER},{_NUMBER}")


@dataclass(frozen=True)
class Click:
    """One clicked landmark: pitch place in metres, image place in pixels (continuous, corner origin)."""

    label: str
    pitch_m: tuple[float, float]
    px: tuple[float, float]
    line: int = 0


@dataclass(frozen=True)
class LandmarkSet:
    """The clicks of one image. ``labels`` are all the places the annotator could choose from."""

    source: str
    image_name: str
    image_size_px: tuple[int, int]
    clicks: tuple[Click, ...]
    labels: tuple[tuple[float, float], ...] = ()

    def relabelled(self, changes: Iterable[tuple[str, str]]) -> LandmarkSet:
        """The set with clicks of label ``old`` renamed to ``new``. Raises InputError for an unknown or bad label."""
        clicks = list(self.clicks)
        for old, new in changes:
            place = parse_label(new)
            hits = [index for index, click in enumerate(clicks) if click.label == old]
            if place is None:
                raise InputError(f"label {new!r} is not (x,y) in metres", hint='write it like "(16.5,13.84)"')
            if not hits:
                raise InputError(f"{self.source} has no landmark {old!r}", hint="copy the label from the table")
            for index in hits:
                clicks[index] = replace(clicks[index], label=new, pitch_m=place)
        return replace(self, clicks=tuple(clicks))


def parse_label(label: str) -> tuple[float, float] | None:
    """(x, y) metres of a label like ``(16.5,13.84)``, or None."""
    match = _LABEL.fullmatch(label.strip())
    return (float(match[1]), float(match[2])) if match else None


def load_cvat(path: Path, image: str | None = None) -> LandmarkSet:
    """Read a CVAT XML file.

    Raises:
        InputError: missing, too large, not XML, with a DTD, without landmarks, or a label or point that cannot be read.
    """
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist", hint="give the CVAT XML with --landmarks") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}", hint="check the path and its rights") from error
    return parse_cvat(data, str(path), image)


def parse_cvat(data: bytes, source: str, image: str | None = None) -> LandmarkSet:
    """Parse the bytes of a CVAT XML file; ``source`` names it in errors, ``image`` picks one of several images.

    Raises:
        InputError: see ``load_cvat``.
    """
    if len(data) > MAX_FILE_BYTES:
        raise InputError(f"{source} is larger than {MAX_FILE_BYTES} bytes", hint="this is no landmark file")
    reader = _Reader(source)
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = reader.refuse_doctype
    reader.parser = parser
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise InputError(
            f"{source} is not readable XML: {error}", hint="export it again from CVAT (CVAT 1.1)"
        ) from error
    return reader.result(image)


@dataclass
class _Image:
    name: str
    size_px: tuple[int, int]
    clicks: list[Click] = field(default_factory=list)


class _Reader:
    """Expat handlers that collect images, clicks and the list of possible labels."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.images: list[_Image] = []
        self.labels: list[tuple[float, float]] = []
        self.parser: expat.XMLParserType | None = None
        self._path: list[str] = []
        self._text: list[str] = []

    def _line(self) -> int:
        return self.parser.CurrentLineNumber if self.parser is not None else 0

    def _fail(self, message: str, hint: str) -> NoReturn:
        raise InputError(f"{self.source}:{self._line()}: {message}", hint=hint)

    def refuse_doctype(self, *_: object) -> None:
        self._fail("the XML has a DTD", "a CVAT export has none; remove the DOCTYPE")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self._path.append(name)
        self._text.clear()
        if name == "image":
            self._start_image(attributes)
        elif name == "points" and "image" in self._path:
            self._start_points(attributes)

    def text(self, data: str) -> None:
        if self._path and self._path[-1] == "name" and sum(map(len, self._text)) < 64:
            self._text.append(data)

    def end(self, name: str) -> None:
        if name == "name" and self._path[-2:] == ["label", "name"] and len(self.labels) < MAX_LANDMARKS:
            place = parse_label("".join(self._text))
            if place is not None:
                self.labels.append(place)
        self._path.pop()

    def _start_image(self, attributes: dict[str, str]) -> None:
        sides = []
        for key in ("width", "height"):
            value = attributes.get(key, "")
            if not value.isascii() or not value.isdigit() or len(value) > 6 or not 0 < int(value) <= MAX_SIDE_PX:
                self._fail(f"image {key} is {value!r}", f"expected a whole number from 1 to {MAX_SIDE_PX}")
            sides.append(int(value))
        self.images.append(_Image(attributes.get("name", ""), (sides[0], sides[1])))

    def _start_points(self, attributes: dict[str, str]) -> None:
        image = self.images[-1]
        label = attributes.get("label", "").strip()
        place = parse_label(label)
        if place is None:
            self._fail(
                f"label {label[:64]!r} is not a pitch position", 'name labels "(x,y)" in metres, like "(16.5,13.84)"'
            )
        text = attributes.get("points", "")
        point = _POINT.fullmatch(text)
        if point is None:
            self._fail(f"landmark {label} has points {text[:64]!r}", "click exactly one point per label")
        if len(image.clicks) >= MAX_LANDMARKS:
            self._fail(f"more than {MAX_LANDMARKS} landmarks", "this is no landmark file")
        px = float(point[1]), float(point[2])
        width, height = image.size_px
        if not (0 <= px[0] <= width and 0 <= px[1] <= height):
            self._fail(
                f"landmark {label} at ({px[0]:g}, {px[1]:g}) is outside the {width}x{height} image",
                "correct the click, or the width and height of the image",
            )
        image.clicks.append(Click(label, place, px, self._line()))

    def result(self, wanted: str | None) -> LandmarkSet:
        filled = [image for image in self.images if image.clicks and wanted in (None, image.name)]
        if not filled:
            which = f" for image {wanted!r}" if wanted else ""
            raise InputError(
                f"{self.source} has no landmarks{which}", hint='expected <image><points label="(x,y)"> of CVAT'
            )
        if len(filled) > 1:
            names = ", ".join(image.name for image in filled[:5])
            raise InputError(
                f"{self.source} has landmarks on several images: {names}", hint="choose one with --image NAME"
            )
        image = filled[0]
        return LandmarkSet(
            self.source, image.name, image.size_px, tuple(image.clicks), tuple(dict.fromkeys(self.labels))
        )


def check_on_pitch(landmarks: LandmarkSet, pitch_m: tuple[float, float]) -> None:
    """Raises InputError for a label that lies off a pitch of this size."""
    length, width = pitch_m
    for click in landmarks.clicks:
        x, y = click.pitch_m
        if not (0 <= x <= length and 0 <= y <= width):
            raise InputError(
                f"{landmarks.source}:{click.line}: label {click.label} is off the {length:g} x {width:g} m pitch",
                hint="correct the label, or give the pitch size with --pitch",
            )
