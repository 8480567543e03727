"""Find a camera backend by its name: entry points of the group ``touchline.cameras``.

Backends of higher rooms (the simulated venue in ``hil``) register there too, so the agent drives them without importing
them, and a node that ships without that room does not have it.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Final, TypeAlias, TypeVar, cast

from pydantic import BaseModel, ValidationError

from agent.camera.port import Camera
from touchline.config import CameraSection
from touchline.errors import ConfigError
from touchline.timeline import Clock

GROUP: Final = "touchline.cameras"
CameraFactory: TypeAlias = Callable[[CameraSection, Clock], Camera]
OptionsT = TypeVar("OptionsT", bound=BaseModel)


def camera_names() -> list[str]:
    """Names of the backends installed here."""
    return sorted(point.name for point in entry_points(group=GROUP))


def open_camera(section: CameraSection, clock: Clock) -> Camera:
    """Return the configured camera, not yet opened. Raises ConfigError for an unknown backend or option."""
    for point in entry_points(group=GROUP, name=section.source):
        return cast(CameraFactory, point.load())(section, clock)
    raise ConfigError(
        f"camera {section.number}: source {section.source!r} is not installed",
        hint=f"use one of {', '.join(camera_names())}",
    )


def read_options(section: CameraSection, model: type[OptionsT]) -> OptionsT:
    """Validate ``[camera.options]`` against a backend's closed model. Raises ConfigError naming key and range."""
    try:
        return model.model_validate(section.options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ConfigError(
            f"camera {section.number} ({section.source}): options.{key}: {first['msg']}",
            hint=f"options of {section.source}: {', '.join(model.model_fields)}",
        ) from error
