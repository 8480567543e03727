"""Match profiles: what is asked of the node and what the weather does, read from ``profiles.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from thermal.plant.physics import Outside
from thermal.plant.troubles import Trouble, trouble_of
from touchline.errors import InputError

FILE: Final = Path(__file__).with_name("profiles.json")
FORMAT: Final = 1
MAX_BYTES: Final = 1 << 18
MAX_PHASES: Final = 500
MAX_SECONDS: Final = 48 * 3600.0


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the day. ``load``: share of the 240 fps work; air and sun go in a line to the values at its end."""

    name: str
    seconds: float
    load: float
    ambient_c: float
    sun_w: float = 0.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A day. ``ambient_c`` and ``sun_w`` as it begins; the node has had the first phase's load for hours by then."""

    name: str
    about: str
    ambient_c: float
    sun_w: float
    phases: tuple[Phase, ...]
    troubles: tuple[Trouble, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it takes."""
        return sum(phase.seconds for phase in self.phases)

    def at(self, at_s: float) -> tuple[Phase, Outside]:
        """The phase and the outside at a time; the last phase goes on."""
        before_c, before_w, begin_s = self.ambient_c, self.sun_w, 0.0
        for phase in self.phases:
            if at_s < begin_s + phase.seconds:
                share = (at_s - begin_s) / phase.seconds
                ambient_c = before_c + share * (phase.ambient_c - before_c)
                return phase, Outside(ambient_c, before_w + share * (phase.sun_w - before_w), phase.load)
            before_c, before_w, begin_s = phase.ambient_c, phase.sun_w, begin_s + phase.seconds
        last = self.phases[-1]
        return last, Outside(last.ambient_c, last.sun_w, last.load)


def profile_of(name: str, document: Mapping[str, Any]) -> Profile:
    """One profile of a file. Raises InputError that names the profile and what is wrong in it."""
    try:
        ambient_c = _within(document["ambient_c"], -40.0, 60.0, "ambient_c")
        sun_w = _within(document.get("sun_w", 0.0), 0.0, 1000.0, "sun_w")
        phases = tuple(_phases(document["phases"], ambient_c, sun_w))
        troubles = tuple(trouble_of(one) for one in document.get("troubles", []))
        profile = Profile(name, str(document["about"]), ambient_c, sun_w, phases, troubles)
        _within(profile.seconds, 1.0, MAX_SECONDS, "the sum of all seconds")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        why = f"{error} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"profile {name}: {why}", hint="docs/thermal.md shows a profile") from None
    return profile


def _phases(listed: Any, ambient_c: float, sun_w: float) -> list[Phase]:
    if not isinstance(listed, list) or not 1 <= len(listed) <= MAX_PHASES:
        raise ValueError(f"phases must be a list of 1 to {MAX_PHASES}")
    phases: list[Phase] = []
    for one in listed:
        seconds = _within(one["seconds"], 1.0, MAX_SECONDS, "seconds")
        load = _within(one["load"], 0.0, 1.0, "load")
        ambient_c = _within(one.get("ambient_c", ambient_c), -40.0, 60.0, "ambient_c")
        sun_w = _within(one.get("sun_w", sun_w), 0.0, 1000.0, "sun_w")
        phases.append(Phase(str(one["name"]), seconds, load, ambient_c, sun_w))
    return phases


def _within(value: Any, low: float, high: float, name: str) -> float:
    number = float(value)
    if isinstance(value, bool) or not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name} {value!r} must be {low:g} to {high:g}")
    return number


def read_profiles(path: Path) -> dict[str, Profile]:
    """Read a file of profiles. Raises InputError; OSError for the file itself."""
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise InputError(f"{path} is larger than {MAX_BYTES} bytes", hint="it should hold a few profiles of phases")
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}", hint="docs/thermal.md shows a profile") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f'{path} is no file of profiles: "format": {FORMAT} is missing', hint="docs/thermal.md")
    listed = document.get("profiles")
    if not isinstance(listed, dict) or not listed:
        raise InputError(f'{path} has no "profiles"', hint="docs/thermal.md shows a profile")
    return {name: profile_of(name, one) for name, one in listed.items()}


@cache
def built_in() -> Mapping[str, Profile]:
    """The profiles that come with Touchline, by name."""
    return read_profiles(FILE)
