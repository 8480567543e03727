"""``[protect]``: shock, camera relay, /data filling up, log flush, trace ring (PRT-1 to PRT-3, CAP-6)."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, field_validator, model_validator

from touchline.config.loader import Section
from touchline.units import parse_bytes

MAX_PATH: Final = 255

# As people write them on a device tree: "relay", "GPIO12", "PAA.04"; no quote, no slash.
LineName = Annotated[str, Field(pattern=r"^([A-Za-z0-9][A-Za-z0-9 ._+-]{0,63})?$", description="name of a GPIO line")]
Folder = Annotated[str, Field(pattern=r"^/[^\x00\n]*$", max_length=MAX_PATH, description="absolute path")]
Unit = Annotated[str, Field(pattern=r"^[A-Za-z0-9@._:-]{1,240}\.(service|socket|timer)$", description="a systemd unit")]


class ProtectSection(Section):
    """``[protect]``. Absent: nothing is guarded, no relay is touched, nothing is flushed.

    An empty ``accelerometer``, ``relay_line`` or ``disk_mount`` leaves that part out.
    """

    accelerometer: str = Field(
        default="lis3dh", pattern=r"^[A-Za-z0-9_.,-]{0,63}$", description="IIO name of the sensor; empty: none"
    )
    shake_g: float = Field(default=0.7, ge=0.1, le=16.0, description="deviation from gravity that counts, g (PRT-1)")
    shake_ms: float = Field(default=500.0, ge=50.0, le=10_000.0, description="shaken for so long: cut (PRT-1)")
    shake_gap_ms: float = Field(
        default=100.0,
        ge=0.0,
        le=400.0,
        description="calm for no longer than this is within the shaking: an oscillation passes through zero",
    )
    sample_ms: float = Field(default=20.0, ge=5.0, le=100.0, description="between two samples")
    gravity: Literal["learnt", "magnitude"] = Field(
        default="learnt",
        description="learnt: the deviation is that of the vector from where it was at rest; magnitude: of |a| from 1 g",
    )
    sensor_lost_s: float = Field(default=2.0, ge=0.2, le=60.0, description="no sample for so long: alarm")
    sensor_frozen_s: float = Field(
        default=600.0,
        ge=0.0,
        le=86_400.0,
        description="the same sample to the last bit for so long: lost; 0: not judged. Coarse parts never are",
    )
    on_sensor_loss: Literal["alarm", "cut"] = Field(
        default="alarm", description="cut: a lost sensor cuts the cameras, and is latched, as shaking is"
    )

    relay_line: LineName = Field(default="", description="GPIO line of the camera relay; empty: none, events only")
    relay_chip: str = Field(
        default="", max_length=64, description="label of its chip; empty: the one that has the line"
    )
    relay_active_low: bool = Field(default=False, description="active is the low level")
    relay_kind: Literal["held", "latching"] = Field(
        default="held", description="held: the line keeps the relay; latching: a pulse on relay_line cuts"
    )
    relay_cut: Literal["inactive", "active"] = Field(
        default="inactive", description="held: the line's value that cuts; inactive is the fail-safe wiring"
    )
    relay_restore_line: LineName = Field(default="", description="latching: the line whose pulse restores")
    relay_pulse_ms: float = Field(default=50.0, ge=5.0, le=500.0, description="latching: length of a pulse")
    log_wait_s: float = Field(
        default=2.0, ge=0.1, le=4.0, description="a disk that has not taken the event by then is not waited for"
    )

    disk_mount: Folder | Literal[""] = Field(default="/data", description="mount point guarded; empty: none (PRT-2)")
    disk_limit_pct: float = Field(default=90.0, ge=50.0, le=99.0, description="full: retention, then read-only")
    disk_clear_pct: float = Field(default=85.0, ge=10.0, le=98.0, description="writable again at or below")
    disk_retention: Literal["recordings", "off"] = Field(
        default="recordings", description="recordings: the first-made files of [record] folder go first; off: none"
    )
    disk_keep_files: int = Field(default=4, ge=1, le=10_000, description="the newest of each camera never go")
    disk_look_s: float = Field(default=10.0, ge=0.5, le=60.0, description="between two looks")
    disk_quiesce_s: float = Field(default=10.0, ge=1.0, le=120.0, description="writers have so long to close files")
    disk_stop_units: list[Unit] = Field(
        default_factory=list, max_length=16, description="units stopped when files stay open all the same, and started"
    )
    disk_open_s: float = Field(
        default=600.0, ge=10.0, le=86_400.0, description="a person who remounts it writable has so long to make room"
    )

    flush_paths: list[Folder] = Field(
        default=["/var/log", "/"],
        min_length=1,
        max_length=8,
        description="their file systems are synced every 30 s, each once, no other (PRT-3)",
    )
    flush_slow_ms: float = Field(default=1000.0, ge=1.0, le=60_000.0, description="a longer flush is a warning")

    trace_max: str | int = Field(default="2GB", description="bound of the trace ring in memory; 0: none (CAP-6)")
    trace_dir: Folder | Literal[""] = Field(default="", description="in a tmpfs; empty: trace in [node] run_dir")
    trace_archive: Folder = Field(default="/var/lib/touchline/trace", description="on the NVMe: what is flushed")
    trace_archive_max: str | int = Field(
        default="20GB", description="bound of the archive, the files flushed first go first: ten full rings"
    )
    trace_spare_ram: str | int = Field(default="2GiB", description="memory that must stay free beside the ring")

    @field_validator("trace_max", "trace_spare_ram")
    @classmethod
    def _size(cls, value: str | int) -> str | int:
        size = parse_bytes(value)
        if size and not 1 << 20 <= size <= 1 << 36:
            raise ValueError("must be 0 or lie between 1MiB and 64GiB")
        return value

    @field_validator("trace_archive_max")
    @classmethod
    def _archive_size(cls, value: str | int) -> str | int:
        if not 1 << 20 <= parse_bytes(value) <= 1 << 44:
            raise ValueError("must lie between 1MiB and 16TiB")
        return value

    @model_validator(mode="after")
    def _archive_holds_the_ring(self) -> ProtectSection:
        if parse_bytes(self.trace_archive_max) < self.trace_max_bytes:
            raise ValueError(
                f"trace_archive_max {self.trace_archive_max} must be at least trace_max {self.trace_max}: "
                "one flush brings a whole ring"
            )
        return self

    @model_validator(mode="after")
    def _disk_has_hysteresis(self) -> ProtectSection:
        if self.disk_clear_pct > self.disk_limit_pct - 1.0:
            raise ValueError(
                f"disk_clear_pct {self.disk_clear_pct:g} must lie at least 1 below disk_limit_pct "
                f"{self.disk_limit_pct:g}, or the disk would be remounted to and fro"
            )
        return self

    @model_validator(mode="after")
    def _relay_is_whole(self) -> ProtectSection:
        if self.relay_kind == "latching" and self.relay_line and not self.relay_restore_line:
            raise ValueError('relay_kind "latching" needs relay_restore_line, the line of the coil that restores')
        if self.relay_restore_line and self.relay_restore_line == self.relay_line:
            raise ValueError("relay_line and relay_restore_line are one line; a latching relay has two coils")
        if self.relay_kind == "held" and self.relay_restore_line:
            raise ValueError('relay_restore_line belongs to relay_kind "latching"')
        return self

    @model_validator(mode="after")
    def _samples_fit(self) -> ProtectSection:
        if self.shake_ms < 5 * self.sample_ms:
            raise ValueError(f"shake_ms {self.shake_ms:g} must be at least five samples of {self.sample_ms:g} ms")
        if self.shake_gap_ms >= self.shake_ms:
            raise ValueError(f"shake_gap_ms {self.shake_gap_ms:g} must be shorter than shake_ms {self.shake_ms:g}")
        if self.sensor_lost_s * 1e3 < 5 * self.sample_ms:
            raise ValueError(f"sensor_lost_s {self.sensor_lost_s:g} must be at least five samples")
        if 0.0 < self.sensor_frozen_s < 10.0:
            raise ValueError(f"sensor_frozen_s {self.sensor_frozen_s:g} must be 0 (not judged) or at least 10 s")
        return self

    @property
    def trace_max_bytes(self) -> int:
        """Bound of the trace ring, bytes; 0: there is none."""
        return parse_bytes(self.trace_max)

    @property
    def trace_archive_bytes(self) -> int:
        """Bound of the trace archive, bytes."""
        return parse_bytes(self.trace_archive_max)

    @property
    def trace_spare_bytes(self) -> int:
        """Memory left alone, bytes."""
        return parse_bytes(self.trace_spare_ram)
