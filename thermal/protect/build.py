"""The service of a node from its configuration."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from thermal.protect.accelerometer import Accelerometer
from thermal.protect.disk import DiskSettings
from thermal.protect.events import EventLog
from thermal.protect.flush import FILE as FLUSH_FILE
from thermal.protect.guard import GuardPorts, GuardSettings, ShockGuard
from thermal.protect.keeper import DiskKeeper, Keeping
from thermal.protect.latch import LatchFile
from thermal.protect.mount import Mount
from thermal.protect.reader import SampleReader
from thermal.protect.relay import KeptRelay, RelayWiring
from thermal.protect.service import Desk, ProtectService
from thermal.protect.shake import ShakeSettings
from thermal.sysfs.files import RealFiles
from touchline.errors import ConfigError
from touchline.timeline import monotonic_ns, utc_text

if TYPE_CHECKING:
    from touchline.config import NodeConfig
    from touchline.config.protect import ProtectSection


def shake_settings(section: ProtectSection) -> ShakeSettings:
    """What counts as shaking."""
    return ShakeSettings(
        limit_g=section.shake_g,
        hold_ns=round(section.shake_ms * 1e6),
        gap_ns=round(section.shake_gap_ms * 1e6),
        period_ns=round(section.sample_ms * 1e6),
        learn=section.gravity == "learnt",
        lost_ns=round(section.sensor_lost_s * 1e9),
        frozen_ns=round(section.sensor_frozen_s * 1e9),
    )


def disk_settings(section: ProtectSection) -> DiskSettings:
    """When the disk is full."""
    return DiskSettings(
        limit_pct=section.disk_limit_pct,
        clear_pct=section.disk_clear_pct,
        trims=section.disk_retention == "recordings",
        quiesce_ns=round(section.disk_quiesce_s * 1e9),
        open_ns=round(section.disk_open_s * 1e9),
        stop_units=bool(section.disk_stop_units),
    )


def open_service(
    config: NodeConfig, section: ProtectSection, root: Path, run_dir: Path, state_dir: Path
) -> ProtectService:
    """``root``: where the kernel's files lie; ``state_dir``: events and latch, on another disk than the guarded one.

    Raises ConfigError when the events would lie on the disk that is to be made read-only.
    """
    run_dir.mkdir(parents=True, exist_ok=True)
    state_dir.mkdir(parents=True, exist_ok=True)
    mount = Mount(section.disk_mount) if section.disk_mount else None
    if mount is not None and mount.look().used_pct is not None and mount.holds(state_dir):
        raise ConfigError(
            f"events in {state_dir} lie on {mount.target}, which is made read-only when it is full",
            hint="keep them on another disk: --state-dir, or another disk_mount",
        )
    log = EventLog(state_dir)
    sensor = Accelerometer(RealFiles(root), section.accelerometer) if section.accelerometer else None
    reader = None if sensor is None else SampleReader(sensor.read, section.sample_ms / 1e3)
    wiring = RelayWiring.of(section)
    feed = None if wiring is None else KeptRelay(wiring)
    ports = GuardPorts(log, LatchFile(state_dir), None if reader is None else reader.read, feed, utc_text)
    guard = ShockGuard(
        GuardSettings(shake_settings(section), section.on_sensor_loss == "cut", section.log_wait_s), ports
    )
    keeper = None if mount is None else DiskKeeper(mount, _keeping(config, section, run_dir, log), monotonic_ns)

    def close() -> None:
        log.close()
        if reader is not None:
            reader.close()
        if feed is not None:
            feed.close()

    desk = Desk(
        node=config.node.name,
        run_dir=run_dir,
        flush_status=config.node.run_dir / FLUSH_FILE,
        sensor=section.accelerometer,
        sample_ns=round(section.sample_ms * 1e6),
        disk_every_s=section.disk_look_s,
        log_lost=lambda: log.lost,
        sensor_says=lambda: "" if sensor is None else sensor.rate,
        threads=lambda: [log.thread, *([reader.thread] if reader is not None and reader.thread else [])],
        close=close,
    )
    return ProtectService(guard, keeper, desk)


def _keeping(config: NodeConfig, section: ProtectSection, run_dir: Path, log: EventLog) -> Keeping:
    return Keeping(
        run_dir=run_dir,
        settings=disk_settings(section),
        say=lambda event: log.put({"at": utc_text(), **event}),
        recordings=None if config.record is None else config.record.folder,
        keep_files=section.disk_keep_files,
        units=tuple(section.disk_stop_units),
    )
