"""GPIO lines by name, through libgpiod 2's Python package ``gpiod`` (LGPL-2.1-or-later), loaded when they are taken.

A line is found by its name in the device tree and, where several chips have one, by the label of its chip; chip numbers
move between boots. A line that somebody else holds is refused, and its consumer named.
"""

from __future__ import annotations

import errno
import importlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol

from touchline.errors import HardwareError, ResourceError

CONSUMER: Final = "touchline-protect"
DEVICES: Final = Path("/dev")


class Lines(Protocol):
    """Output lines that are held. Both calls raise OSError."""

    def set(self, line: str, active: bool) -> None: ...

    def get(self, line: str) -> bool: ...

    def close(self) -> None: ...


class GpiodLines:
    """Lines held through gpiod's requests, one chip each."""

    def __init__(self, gpiod: Any, requests: Mapping[str, tuple[Any, int]]) -> None:
        self._values = gpiod.line.Value
        self._requests = dict(requests)

    def set(self, line: str, active: bool) -> None:
        """Drive a line."""
        request, offset = self._requests[line]
        request.set_value(offset, self._values.ACTIVE if active else self._values.INACTIVE)

    def get(self, line: str) -> bool:
        """What a line reads."""
        request, offset = self._requests[line]
        return bool(request.get_value(offset) == self._values.ACTIVE)

    def close(self) -> None:
        """Release the lines; what they do then is the hardware's business."""
        for request, _ in self._requests.values():
            request.release()
        self._requests.clear()


def open_lines(chip_label: str, start: Mapping[str, bool], active_low: bool) -> GpiodLines:
    """Take the lines ``start`` names as outputs at the values it gives.

    Raises HardwareError for a line that is not there, or there twice; ResourceError for one that somebody holds.
    """
    gpiod = load_gpiod()
    found: dict[str, tuple[Any, int]] = {}
    try:
        for name, active in start.items():
            path, offset = _find(gpiod, chip_label, name)
            found[name] = _request(gpiod, path, name, (offset, active, active_low)), offset
    except BaseException:  # also KeyboardInterrupt: no line may stay claimed
        for request, _ in found.values():
            request.release()
        raise
    return GpiodLines(gpiod, found)


def load_gpiod() -> Any:
    """The package, loaded only where a relay is configured. Raises ResourceError when it is missing or too old."""
    try:
        gpiod = importlib.import_module("gpiod")
    except ImportError as error:
        raise ResourceError(
            f"the Python package gpiod cannot be loaded: {error}",
            hint='install "gpiod>=2.0.2", or take relay_line out of [protect]',
        ) from error
    if not hasattr(gpiod, "LineSettings"):
        raise ResourceError(f"gpiod {getattr(gpiod, '__version__', '1')} is too old", hint='install "gpiod>=2.0.2"')
    return gpiod


def _chips(gpiod: Any) -> list[str]:
    paths = sorted(DEVICES.glob("gpiochip*"), key=lambda path: (len(path.name), path.name))
    return [str(path) for path in paths if gpiod.is_gpiochip_device(str(path))]


def _find(gpiod: Any, chip_label: str, name: str) -> tuple[str, int]:
    """Chip and offset of the one line of this name."""
    found: list[tuple[str, int]] = []
    labels: list[str] = []
    for path in _chips(gpiod):
        with gpiod.Chip(path) as chip:
            label = str(chip.get_info().label)
            labels.append(label)
            if chip_label and label != chip_label:
                continue
            try:
                found.append((path, int(chip.line_offset_from_id(name))))
            except OSError:
                continue  # it has no line of this name
    where = f"chip {chip_label!r}" if chip_label else "any chip"
    if not found:
        seen = ", ".join(labels) or "none"
        hint = f"gpioinfo lists the lines; chips seen: {seen}"
        raise HardwareError(f"no GPIO line {name!r} on {where}", hint=hint)
    if len(found) > 1:
        raise HardwareError(
            f"{len(found)} GPIO chips have a line {name!r}", hint=f"set relay_chip to one of {', '.join(labels)}"
        )
    return found[0]


def _request(gpiod: Any, path: str, name: str, want: tuple[int, bool, bool]) -> Any:
    offset, active, active_low = want
    values = gpiod.line.Value
    settings = gpiod.LineSettings(
        direction=gpiod.line.Direction.OUTPUT,
        active_low=active_low,
        output_value=values.ACTIVE if active else values.INACTIVE,
    )
    with gpiod.Chip(path) as chip:
        info = chip.get_line_info(offset)
        if info.used:
            raise _busy(name, str(info.consumer))
        try:
            return chip.request_lines(config={offset: settings}, consumer=CONSUMER)
        except OSError as error:
            if error.errno == errno.EBUSY:  # somebody was faster
                raise _busy(name, str(chip.get_line_info(offset).consumer)) from error
            reason = os.strerror(error.errno or errno.EIO)
            raise HardwareError(f"GPIO line {name!r} cannot be taken: {reason}") from error


def _busy(name: str, consumer: str) -> ResourceError:
    return ResourceError(
        f"GPIO line {name!r} is held by {consumer!r}", hint="stop that, or name another line in [protect] relay_line"
    )
