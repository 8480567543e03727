"""``[camera.options]`` of a V4L2 camera."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from agent.camera.v4l2.uapi import VIDEO_MAX_FRAME
from touchline.config import Section


class V4l2Options(Section):
    """What can be said of a device; the view of it (size, roi, rate) stands in ``[[camera]]`` itself."""

    device: str = Field(
        pattern=r"^(/dev/|bus:|card:).+",
        description="a path, best a lasting one of /dev/v4l/by-path, or bus:<bus_info>, or card:<name>",
    )
    sensor_px: list[int] | None = Field(
        default=None,
        min_length=2,
        max_length=2,
        description="picture asked of the driver: width, height; absent: the view's own size; needed beside roi",
    )
    buffers: int = Field(default=8, ge=2, le=VIDEO_MAX_FRAME, description="landing buffers of the driver")
    timestamp: Literal["auto", "start", "end"] = Field(
        default="auto", description="what the driver stamps: start of exposure or end of frame; auto: as it says"
    )
    clock: Literal["auto", "monotonic", "monotonic_raw", "tsc"] = Field(
        default="auto",
        description="the stamps' clock; auto: as the driver says, but tsc for Tegra's, whatever it says",
    )
    raw_alignment: Literal["auto", "lsb", "msb"] = Field(
        default="auto", description="where 10 or 12 bits stand in a 16-bit word; auto: msb on Tegra, else lsb"
    )
    controls: dict[str, int] = Field(
        default_factory=dict, description="controls set at open, in this order: name as v4l2-ctl shows it, value"
    )

    @field_validator("sensor_px")
    @classmethod
    def _a_size(cls, value: list[int] | None) -> list[int] | None:
        if value is not None and not all(1 <= side <= 16_384 for side in value):
            raise ValueError("each side must lie between 1 and 16384 px")
        return value
