"""The optics that the cameras of several nodes share: one scene, applied to all of them.

Shared is the content: pattern, brightness, square, cover. Not shared is the phase: each node's driver starts its
frames by itself, and a change reaches the nodes one after the other (about 0.1 s each under emulation).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from hil.virtual.devices.camera import MOVEMENTS, PATTERNS, TEXTS, Camera
from hil.virtual.devices.registers import one_of, within
from touchline.errors import HardwareError


@dataclass(frozen=True, slots=True)
class Look:
    """What all cameras see. With ``text`` none and no movement equal looks give equal pixels on every node."""

    pattern: str = "colorbar-75"
    brightness: int = 128
    square: bool = False
    movement: str = "none"
    text: str = "none"

    def __post_init__(self) -> None:
        one_of("test pattern", self.pattern, PATTERNS)
        one_of("movement", self.movement, MOVEMENTS)
        one_of("text", self.text, TEXTS)
        within("brightness", self.brightness, 0, 255, "of 255")

    def controls(self) -> dict[str, int]:
        """The driver's controls for this look."""
        return {
            "test_pattern": PATTERNS.index(self.pattern),
            "brightness": self.brightness,
            "show_square": int(self.square),
            "horizontal_movement": MOVEMENTS.index(self.movement),
            "osd_text_mode": TEXTS.index(self.text),
        }


class Optics:
    """One scene before the cameras of all nodes."""

    def __init__(self, cameras: Iterable[Camera]) -> None:
        self._cameras = tuple(cameras)
        self._look = Look()
        self._covered = False

    @property
    def look(self) -> Look:
        """The scene, covered or not."""
        return self._look

    def show(self, look: Look) -> None:
        """Put this scene before all cameras."""
        self._look = look
        self.refresh()

    def follow(self, scene: Callable[[float], Look], at_s: float) -> None:
        """Show a scene that is a function of time, at this time; nothing is sent while it stays the same."""
        look = scene(at_s)
        if look != self._look:
            self.show(look)

    def pattern(self, name: str) -> None:
        """Change the pattern alone."""
        self.show(replace(self._look, pattern=name))

    def brightness(self, value: int) -> None:
        """Change the brightness alone, 0..255."""
        self.show(replace(self._look, brightness=value))

    def cover(self) -> None:
        """Hold something before the lens: all cameras see black."""
        self._covered = True
        self.refresh()

    def uncover(self) -> None:
        """Take it away."""
        self._covered = False
        self.refresh()

    def refresh(self) -> None:
        """Apply the scene to every camera: after a node was restored, rebooted, or a camera reconnected."""
        look = replace(self._look, pattern="black", square=False) if self._covered else self._look
        failures: list[str] = []
        for camera in self._cameras:
            try:
                camera.control(**look.controls())
            except HardwareError as error:  # the others shall see the scene all the same
                failures.append(error.message)
        if failures:
            raise HardwareError(
                f"{len(failures)} of {len(self._cameras)} cameras did not take the scene: {failures[0]}",
                hint="reconnect the camera, then call refresh()",
            )
