"""What ``agent check`` says of ``[record]``: program, its spare, encoder, disk, and the mirror at the twin."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

from agent.check_disk import free_in
from agent.check_pair import must_be_ours
from agent.processes.recorder import choose_program, coding_of, picture_of
from agent.record.command import Coding, Picture
from agent.record.files import folder_of
from agent.record.mirror.knock import knock
from agent.record.mirror.tls import Identity
from agent.record.probe import Found, look_for_encoder
from agent.record.retention import SUFFIX, label_of
from agent.record.spare import judge, primary_of
from touchline.config import CameraSection, NodeConfig
from touchline.config.failover import split_address
from touchline.config.record import RecordSection, port_of
from touchline.errors import ConfigError, ResourceError
from touchline.units import format_bytes

MAX_PORT: Final = 65535
_MAKE_SPARE: Final = "sudo touchline node encoder install --config node.toml (--update after an upgrade of ffmpeg)"


def program_text(record: RecordSection) -> str:
    """Which ffmpeg the recorders would run; that they would run the spare, or one that was changed, is an error."""
    program, complaints = choose_program(record)
    if complaints:
        raise ResourceError("; ".join(complaints), hint=f"apt install --reinstall ffmpeg; {_MAKE_SPARE}")
    return program


def spare_text(record: RecordSection) -> str:
    """The second copy: owner root, mode 0500, immutable, the same bytes (FOV-5)."""
    if not record.spare:
        return "none: record.spare is empty, so one bad upgrade of ffmpeg ends the recording (FOV-5)"
    findings = judge(primary_of(record.ffmpeg), Path(record.spare))
    wrong = [finding for finding in findings if finding.severity == "error"]
    if wrong:
        text = "; ".join(f"{finding.text} ({finding.fix})" for finding in wrong)
        raise ResourceError(text, hint=_MAKE_SPARE)
    unknown = "; ".join(f"{finding.text} ({finding.fix})" for finding in findings)
    return f"{record.spare}, {unknown}" if unknown else f"{record.spare}: root's, mode 0500, immutable, the same bytes"


@cache
def _found(program: str, coding: Coding, picture: Picture) -> Found:
    return look_for_encoder(program, coding, picture)


def encoder_text(record: RecordSection, camera: CameraSection) -> str:
    """Which encoder the camera's recorder would take, by the recorder's own probe."""
    program, _ = choose_program(record)
    found = _found(program, coding_of(record), picture_of(camera))
    text = f"{found.encoder}, {record.codec}, a key frame every {record.gop} frames"
    return f"{text}; {found.complaint}" if found.complaint else text


def folder_text(config: NodeConfig, record: RecordSection) -> str:
    """Every camera's folder can be written, and the disk holds what is to be kept beside what is left to others."""
    folders = _folders(config, record)
    free = min(free_in(folder) for folder in folders)
    ours = (path for folder in folders for path in folder.glob(f"*{SUFFIX}") if label_of(path) is not None)
    held = sum(path.stat().st_size for path in ours)
    keep = record.max_bytes + (record.mirror_max_bytes if record.mirror_peer else 0)
    room = max(0, free + held - record.min_free_bytes)
    if room < keep:
        raise ResourceError(
            f"{record.folder} has room for {format_bytes(room)} of recordings beside record.min_free "
            f"{format_bytes(record.min_free_bytes)}, {format_bytes(keep)} are to be kept: recording will stop before "
            "the oldest files go",
            hint=f"free space, or lower record.max_size by {format_bytes(keep - room)}",
        )
    by_age = (
        f"files older than {record.max_age_h:g} h go while the clock is locked"
        if config.clock.source == "ptp"
        else "none goes by age, for the system clock never locks"
    )
    return (
        f"{record.folder}, {format_bytes(held)} held, {format_bytes(keep)} of {format_bytes(room)} to be kept; beyond "
        f"that the first recorded go; {by_age}"
    )


def _folders(config: NodeConfig, record: RecordSection) -> list[Path]:
    sides = (False, True) if record.mirror_peer else (False,)
    return [folder_of(record.folder, camera.number, mirror) for camera in config.camera for mirror in sides]


def mirror_text(config: NodeConfig, record: RecordSection) -> str:
    """The twin's name and our certificate, our address, room for each camera, and ports that exist."""
    twin = _identity(config).twin
    must_be_ours(record.mirror_listen, "record.mirror_listen", "an address of this node; the twin's is mirror_peer")
    share, cameras = record.mirror_share(len(config.camera)), len(config.camera)
    for key in ("mirror_listen", "mirror_peer"):
        host, port = split_address(getattr(record, key))
        if port + cameras - 1 > MAX_PORT:
            raise ConfigError(
                f"record.{key}: {cameras} cameras take the ports {port} to {port + cameras - 1} of {host}",
                hint=f"begin at {MAX_PORT + 1 - cameras} or below",
            )
    if record.mirror_listen == record.mirror_peer:
        raise ConfigError(
            f"record.mirror_listen and mirror_peer are both {record.mirror_peer}", hint="mirror_peer is the twin's"
        )
    return (
        f"at {_ports(record.mirror_listen, cameras)} for {twin}, to it at {_ports(record.mirror_peer, cameras)}; "
        f"{format_bytes(share)} a camera kept here, {format_bytes(record.mirror_backlog_bytes)} wait in memory"
    )


def _ports(address: str, cameras: int) -> str:
    last = split_address(address)[1] + cameras - 1
    return address if cameras == 1 else f"{address} to {last}"


def _identity(config: NodeConfig) -> Identity:
    if config.failover is None:
        raise ConfigError("record.mirror_peer needs [failover]", hint="it names the twin; or take mirror_peer out")
    return Identity(config.mqtt, config.failover.twin)


def reach_text(config: NodeConfig, record: RecordSection, index: int) -> str:
    """Whether the twin's receiver for the camera at ``index`` is there and lets us in; its mirror is not disturbed."""
    address, identity = port_of(record.mirror_peer, index), _identity(config)
    return f"{identity.twin} at {address} lets this node in, after {knock(address, identity):.0f} ms"
