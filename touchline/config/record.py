"""``[record]``: the recorder of every camera, its files and their copy at the twin (FOV-2, FOV-3, FOV-5)."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from touchline.config.failover import split_address
from touchline.config.loader import ConfigPath, Section
from touchline.errors import ConfigError
from touchline.units import parse_bytes

MIRROR_LEAST_BYTES = 2 << 20  # FOV-2: the last 2 MB of the open file are with the twin


def port_of(address: str, index: int) -> str:
    """Where the mirror of the camera at ``index`` is, when the first camera's is at ``host:port``: one port on each."""
    host, port = split_address(address)
    return f"[{host}]:{port + index}" if ":" in host else f"{host}:{port + index}"


class RecordSection(Section):
    """``[record]``. Absent: nothing is recorded. One recorder and one ffmpeg a camera."""

    folder: ConfigPath = Field(description="recordings, a folder a camera; those of the twin in its folder mirror/")
    codec: Literal["h264", "hevc"] = Field(default="h264", description="what is written")
    encoder: str = Field(
        default="auto",
        pattern=r"^[a-z0-9_]{2,32}$",
        description="ffmpeg's name of the encoder; auto: the first that passes its probe, hardware before libx264/5",
    )
    crf: int = Field(default=18, ge=0, le=51, description="constant quality; smaller is better and larger")
    bitrate_mbps: float = Field(
        default=20.0, ge=0.1, le=500.0, description="for hardware encoders that know no constant quality"
    )
    gop: int = Field(default=15, ge=1, le=600, description="frames from key frame to key frame, exactly")
    preset: str = Field(
        default="", pattern=r"^[a-z0-9]{0,16}$", description="the encoder's preset; empty: one that keeps up"
    )
    threads: int = Field(default=0, ge=0, le=64, description="threads of the encoder; 0: its own choice")
    fragment: int = Field(default=1, ge=1, le=60, description="frames a fragment; what a kill may cost")
    file_minutes: float = Field(default=10.0, ge=0.05, le=240.0, description="then a new file, at a key frame")
    max_size: str | int = Field(default="64GiB", description="of all recordings; the oldest files are deleted beyond")
    max_age_h: float = Field(
        default=168.0,
        ge=0.1,
        le=8760.0,
        description="older files are deleted, once the clock was locked and without a step for an hour; 4 always stay",
    )
    min_free: str | int = Field(default="1GiB", description="disk space left to others: recording stops, loudly")
    sync_s: float = Field(default=1.0, ge=0.1, le=60.0, description="a power cut costs at most this much")
    standby_encoder: Literal["running", "stopped"] = Field(
        default="running",
        description=(
            "running: both nodes encode all along; stopped: the standby's encoder is primed and stopped (SIGSTOP), and "
            "goes on behind the mirrored tail when this node becomes active"
        ),
    )
    mirror_listen: str = Field(
        default="", description="our host:port for the twin's recorders; the first camera's, the others follow on"
    )
    mirror_peer: str = Field(default="", description="the twin's mirror_listen as seen from here; empty: no mirror")
    mirror_max: str | int = Field(default="256MiB", description="of the twin's recordings kept here")
    mirror_backlog: str | int = Field(default="16MiB", description="kept in memory for a twin that is away")
    ffmpeg: str = Field(default="", description="path of ffmpeg; empty: the one in PATH")
    spare: str = Field(
        default="", description="second copy of ffmpeg: owner root, mode 0500, immutable; empty: none (FOV-5)"
    )
    nice: int = Field(default=5, ge=0, le=19, description="niceness of recorder and encoder: the rest comes first")
    cpus: list[int] = Field(default_factory=list, description="CPUs of recorder and encoder; empty: any")

    @field_validator("max_size", "min_free", "mirror_max", "mirror_backlog")
    @classmethod
    def _size(cls, value: str | int) -> str | int:
        if not 1 << 20 <= parse_bytes(value) <= 1 << 46:
            raise ValueError("must lie between 1MiB and 64TiB")
        return value

    @field_validator("mirror_listen", "mirror_peer")
    @classmethod
    def _address(cls, value: str) -> str:
        if value:
            split_address(value)
        return value

    @model_validator(mode="after")
    def _fits(self) -> RecordSection:
        if self.fragment > self.gop:
            raise ValueError(f"fragment {self.fragment} is longer than gop {self.gop}: a fragment has one key frame")
        least = 4 * MIRROR_LEAST_BYTES
        if self.mirror_max_bytes < least:
            raise ValueError(
                f"mirror_max must be at least {least >> 20}MiB, so that 2 MB of the open file stay (FOV-2)"
            )
        if bool(self.mirror_listen) != bool(self.mirror_peer):
            raise ValueError("mirror_listen and mirror_peer go together")
        if self.standby_encoder == "stopped" and not self.mirror_peer:
            raise ValueError('standby_encoder "stopped" goes on from the mirrored tail: set mirror_listen, mirror_peer')
        return self

    @property
    def max_bytes(self) -> int:
        """Bound of all recordings of this node, bytes."""
        return parse_bytes(self.max_size)

    @property
    def min_free_bytes(self) -> int:
        """Disk space that is left alone, bytes."""
        return parse_bytes(self.min_free)

    @property
    def mirror_max_bytes(self) -> int:
        """Bound of the twin's mirrored recordings, bytes."""
        return parse_bytes(self.mirror_max)

    def mirror_share(self, cameras: int) -> int:
        """What the mirror of one of so many cameras may hold, bytes. Raises ConfigError when that is too little."""
        share = self.mirror_max_bytes // cameras
        if share < 4 * MIRROR_LEAST_BYTES:
            raise ConfigError(
                f"record.mirror_max leaves {share >> 20} MiB a camera",
                hint=f"give {4 * MIRROR_LEAST_BYTES >> 20}MiB for each of the {cameras} cameras (FOV-2)",
            )
        return share

    @property
    def mirror_backlog_bytes(self) -> int:
        """Bound of what waits in memory for the twin, bytes."""
        return parse_bytes(self.mirror_backlog)
