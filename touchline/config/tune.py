"""``[tune]``: what the host is set to for steady packets: interrupts, idle states, buffers, rings (FOV-4, FOV-6)."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import Field, field_validator

from touchline.config.loader import Section
from touchline.units import parse_bytes

Need = Literal["required", "auto", "off"]

MIN_BUFFER_BYTES = 4096  # the kernel refuses less than about 2.3 kB (SOCK_MIN_RCVBUF)
MAX_BUFFER_BYTES = 1 << 30


class TuneSection(Section):
    """``[tune]``. Absent: the host is left as it is.

    ``required``: a setting that this machine lacks or refuses is an error; ``auto``: it is named and left; ``off``:
    not touched, and put back where an earlier run had changed it.
    """

    irq: Need = Field(default="auto", description="which CPUs serve the interrupts of cameras and network")
    idle: Need = Field(default="auto", description="idle states whose way back takes longer than idle_latency_us off")
    buffers: Need = Field(default="required", description="rmem_max and rmem_default")
    camera_interrupts: list[str] = Field(
        default=[r"(^|[^a-z])(vi|isp|nvcsi|rtcpu)([^a-z]|$)", "host1x", "camera", "csi", r"^b950000\."],
        max_length=32,
        description="regular expressions: names in /proc/interrupts that belong to cameras",
    )
    network_interrupts: list[str] = Field(
        default=["(^|[^a-z])(eth|eno|enp|ens|enP)[0-9]", r"\.ethernet", "ether_qos", "mgbe"],
        max_length=32,
        description="the same for network cards; those of a PCI card are also found by its interface",
    )
    camera_cpus: list[int] = Field(default_factory=list, description="for camera interrupts; empty: capture_cpus")
    network_cpus: list[int] = Field(default_factory=list, description="for network interrupts; empty: publisher_cpus")
    idle_latency_us: float = Field(default=10.0, ge=0, le=1e6, description="longest way back from idle that stays on")
    idle_cpus: list[int] = Field(default_factory=list, description="CPUs whose idle states count; empty: all")
    rmem_max: str | int = Field(default="16MiB", description="net.core.rmem_max at least this; 0: left alone")
    rmem_default: str | int = Field(default=0, description="net.core.rmem_default at least this; 0: left alone")
    ring: Need = Field(default="auto", description="rx_ring; a driver without rings is named and left")
    rx_ring: int = Field(
        default=0,
        ge=0,
        le=65_536,
        description=(
            "packets that the receive ring of a network card holds, at least; 0: left alone. 768 where a drill tears "
            "(FOV-4); the link is down for a moment when it is set"
        ),
    )
    ring_interfaces: list[Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,14}$")]] = Field(
        default_factory=list,
        max_length=16,
        description="whose rings; empty: failover.drill_interfaces, without those clock.ptp.interface",
    )
    jitter_us: float = Field(default=40.0, gt=0, le=1e6, description="bar of touchline node tune check --measure")

    @field_validator("camera_interrupts", "network_interrupts")
    @classmethod
    def _patterns(cls, value: list[str]) -> list[str]:
        for pattern in value:
            try:
                matches_nothing = re.compile(pattern).search("") is not None
            except re.error as error:
                raise ValueError(f"{pattern!r} is no regular expression: {error}") from error
            if matches_nothing:
                raise ValueError(f"{pattern!r} matches every interrupt; name a word of those you mean")
        return value

    @field_validator("camera_cpus", "network_cpus", "idle_cpus")
    @classmethod
    def _cpus(cls, value: list[int]) -> list[int]:
        if any(not 0 <= cpu < 4096 for cpu in value) or len(set(value)) != len(value):
            raise ValueError(f"{value} is no list of CPUs: whole numbers from 0, each once")
        return value

    @field_validator("rmem_max", "rmem_default")
    @classmethod
    def _size(cls, value: str | int) -> str | int:
        size = parse_bytes(value)
        if size and not MIN_BUFFER_BYTES <= size <= MAX_BUFFER_BYTES:
            raise ValueError("must be 0 or lie between 4096 and 1GiB")
        return value

    @property
    def rmem_max_bytes(self) -> int:
        """Wanted net.core.rmem_max, bytes; 0: left alone."""
        return parse_bytes(self.rmem_max)

    @property
    def rmem_default_bytes(self) -> int:
        """Wanted net.core.rmem_default, bytes; 0: left alone."""
        return parse_bytes(self.rmem_default)
