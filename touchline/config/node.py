"""The node's configuration: every table of ``node.toml``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from touchline.config.clock import ClockSection
from touchline.config.failover import FailoverSection
from touchline.config.loader import ConfigPath, Section
from touchline.config.protect import ProtectSection
from touchline.config.record import RecordSection
from touchline.config.thermal import ThermalSection
from touchline.config.track import TrackSection
from touchline.config.tune import TuneSection
from touchline.config.uart import UartSection
from touchline.units import parse_bytes

NodeName = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,16}$", description="1 to 16 of a-z, 0-9 and '-'")]


class IdentitySection(Section):
    """``[node]``: who this is."""

    name: NodeName
    epoch: int = Field(default=1, ge=0, le=2**63 - 1, description="fencing epoch; a lease raises it")
    run_dir: ConfigPath = Field(description="folder for sockets and status, in tmpfs")

    @field_validator("name")
    @classmethod
    def _not_the_rack(cls, value: str) -> str:
        if value == "aggregator":
            raise ValueError("this name belongs to the rack's certificate")
        return value


class CameraSection(Section):
    """``[[camera]]``: one camera and the view of it that is used (CAP-1)."""

    number: int = Field(ge=0, le=65535, description="camera number, unique across the site")
    source: str = Field(pattern=r"^[a-z][a-z0-9_]{0,31}$", description="camera plugin: video, pattern, venue")
    width_px: int = Field(default=1280, ge=64, le=8192)
    height_px: int = Field(default=720, ge=64, le=8192)
    pixel_format: Literal["gray8", "rgb24", "nv12", "raw16"] = "rgb24"
    roi: list[int] | None = Field(
        default=None, min_length=4, max_length=4, description="region of the sensor used: x, y, width, height in px"
    )
    rate_hz: float = Field(default=120.0, gt=0, le=1000.0)
    calibration: ConfigPath = Field(description="calibration file of the whole sensor picture")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the camera plugin")

    @field_validator("options")
    @classmethod
    def _file_beside_the_configuration(cls, value: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        base, file = (info.context or {}).get("base"), value.get("file")
        return {**value, "file": str(base / file)} if base is not None and isinstance(file, str) else value


class RingSection(Section):
    """``[ring]``: the frame ring of each camera (CAP-2, CAP-3)."""

    slots: int = Field(default=60, ge=4, le=100_000)
    guard_slots: int = Field(default=2, ge=1, le=64)
    lock: Literal["required", "auto", "off"] = "required"
    hugepages: bool = False


class DetectSection(Section):
    """``[detect]``: the engine and its thresholds (INF-1..5)."""

    engine: Literal["onnx"] = "onnx"
    model: ConfigPath | None = Field(default=None, description="ONNX file in YOLOv8 layout; the built-in one if absent")
    allow_large_model: bool = False
    threads: int = Field(default=1, ge=1, le=64)
    max_lag_ms: float = Field(default=250.0, ge=0, le=60_000.0, description="skip to the newest frame beyond; 0 never")
    score_threshold: float = Field(default=0.1, ge=0.01, le=0.99)
    iou_threshold: float = Field(default=0.41, ge=0.1, le=0.95)


class PublishSection(Section):
    """``[publish]``: the window, the spool and what happens when it is full (MSG-1)."""

    window_ms: float = Field(default=0.0, ge=0, le=250.0)
    max_batch_records: int = Field(default=1200, ge=1, le=8192)
    in_flight: int = Field(default=20, ge=1, le=1000)
    wait_for_sink: bool = Field(default=True, description="send only once the aggregator says that it is subscribed")
    spool_dir: ConfigPath
    spool_max: str | int = "512MiB"
    when_full: Literal["drop-oldest", "drop-newest"] = "drop-oldest"
    sync: Literal["batch", "interval", "off"] = "interval"
    sync_interval_ms: float = Field(default=100.0, gt=0, le=10_000.0)
    replay_s: float = Field(
        default=5.0, ge=0, le=3600.0, description="acknowledged batches kept so long and sent again after a reconnect"
    )
    drain_max: str | int = Field(default="16MB", description="bytes a second while a backlog drains")

    @field_validator("spool_max")
    @classmethod
    def _size(cls, value: str | int) -> str | int:
        if not 1 << 20 <= parse_bytes(value) <= 1 << 42:
            raise ValueError("must lie between 1MiB and 4096GiB")
        return value

    @field_validator("drain_max")
    @classmethod
    def _pace(cls, value: str | int) -> str | int:
        if not 10_000 <= parse_bytes(value) <= 10**10:
            raise ValueError("must lie between 10kB and 10GB")
        return value

    @property
    def drain_bytes_per_s(self) -> int:
        """Pace of the drain after a reconnect, bytes/s."""
        return parse_bytes(self.drain_max)

    @property
    def spool_max_bytes(self) -> int:
        """Bound of the spool, bytes."""
        return parse_bytes(self.spool_max)


class MqttSection(Section):
    """``[mqtt]``: the broker; TLS 1.3 with mutual certificates (MSG-2)."""

    host: str = Field(min_length=1, max_length=253)
    port: int = Field(default=8883, ge=1, le=65535)
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    ca_file: ConfigPath
    cert_file: ConfigPath
    key_file: ConfigPath
    client_id: str = Field(default="", max_length=64, description="stable client id; absent: the certificate's name")
    connect_timeout_s: float = Field(default=3.0, gt=0, le=60.0)
    handshake_timeout_s: float = Field(default=3.0, gt=0, le=60.0)
    keepalive_s: int = Field(default=5, ge=1, le=3600)


class MetricsSection(Section):
    """``[metrics]``: the Prometheus page of the agent; port 0 takes a free one and says which."""

    bind: str = "127.0.0.1"
    port: int = Field(default=9464, ge=0, le=65535)


class ProcessSection(Section):
    """``[process]``: the children: restarts, drain, CPU sets (INF-6, SYS-1)."""

    restart_limit: int = Field(default=5, ge=0, le=1000, description="restarts within restart_window_s")
    restart_window_s: float = Field(default=60.0, gt=0, le=86_400.0)
    drain_s: float = Field(default=5.0, gt=0, le=120.0)
    stall_s: float = Field(default=2.0, gt=0, le=60.0, description="no frame for so long means not alive")
    capture_cpus: list[int] = Field(default_factory=list)
    inference_cpus: list[int] = Field(default_factory=list)
    publisher_cpus: list[int] = Field(default_factory=list)


class NodeConfig(Section):
    """The whole of ``node.toml``."""

    node: IdentitySection
    clock: ClockSection = Field(default_factory=ClockSection)
    camera: list[CameraSection] = Field(min_length=1, max_length=16)
    ring: RingSection = Field(default_factory=RingSection)
    detect: DetectSection = Field(default_factory=DetectSection)
    track: TrackSection = Field(default_factory=TrackSection)
    publish: PublishSection
    mqtt: MqttSection
    metrics: MetricsSection = Field(default_factory=MetricsSection)
    process: ProcessSection = Field(default_factory=ProcessSection)
    failover: FailoverSection | None = None
    record: RecordSection | None = None
    tune: TuneSection | None = None
    thermal: ThermalSection | None = None
    protect: ProtectSection | None = None
    uart: UartSection | None = None

    @model_validator(mode="after")
    def _camera_numbers_differ(self) -> NodeConfig:
        numbers = [camera.number for camera in self.camera]
        if len(set(numbers)) != len(numbers):
            raise ValueError(f"camera numbers {numbers} repeat; each camera of the site has its own")
        return self

    @model_validator(mode="after")
    def _has_another_for_a_twin(self) -> NodeConfig:
        failover = self.failover
        if failover is not None and failover.twin == self.node.name:
            raise ValueError(f'failover.twin is "{failover.twin}", this node itself; name the other node of the pair')
        if failover is not None and failover.witness_name in (failover.twin, self.node.name):
            raise ValueError(f'failover.witness_name "{failover.witness_name}" is a node of the pair, not the rack')
        return self
