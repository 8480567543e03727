"""``touchline recording``: what the recorders wrote, joined and played through."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from touchline.errors import GateError
from touchline.shell import emit, json_option, note

_PATH = click.Path(path_type=Path)
_STEP_LIMIT_MS = 33.367  # FOV-3


@click.group()
def recording() -> None:
    """The nodes' recordings: join those of a pair into one file, play one through.

    \b
    Examples:
      touchline recording join /var/lib/touchline/recordings from-the-twin --out match.mp4
      touchline recording check match.mp4
      touchline recording continuity recordings --from-ptp-ns 1795254037000000000 --to-ptp-ns 1795254041000000000
      touchline recording encoders
    """


@recording.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("--out", required=True, type=_PATH, help="The MP4 file to write.")
@click.option("--camera", type=click.IntRange(0, 65535), help="Which camera, where the sources hold several.")
@click.option("--force", is_flag=True, help="Write over an existing file.")
@json_option
def join(sources: tuple[Path, ...], out: Path, camera: int | None, force: bool, as_json: bool) -> None:
    """Join recordings of one camera into one playable file.

    SOURCES are files and folders of both nodes, mirrored copies among them, in any order; torn tails are welcome.
    Nothing is encoded again: from one node's pictures to the other's it goes at a key frame, the active node's are
    preferred, and every picture gets its own PTP time as PTS. What came from where, steps and gaps are told.

    Every picture that was read is accounted for. Exits with 8, the file written, when some were recorded and are
    neither in it nor shown by the other node's: a clock that was set, runs that overlap, a key frame that is lost.

    \b
    Examples:
      touchline recording join a/recordings b/recordings --out match.mp4
      touchline recording join a.mp4 b.mp4 mirror/a.mp4 --out match.mp4 --json
      touchline recording join a/recordings b/recordings --camera 3 --out left.mp4
    """
    from agent.record.join import join as join_all
    from agent.record.lanes import REASONS

    if out.exists() and not force:
        raise click.BadParameter(f"{out} exists; name another file, or --force", param_hint="--out")
    value = join_all(sources, out, camera).as_dict()
    emit(value, as_json, _joined_text(value))
    for gap in value["gaps"]:
        note(f"gap of {gap['step_ms']} ms ({gap['frames_missing']} frames) after PTP {gap['after_ptp_ns']}")
    for lost in value["lost"]:
        note(
            f"not joined: {lost['frames']} pictures of {lost['node']}, PTP {lost['from_ptp_ns']} to "
            f"{lost['to_ptp_ns']}: {REASONS[lost['reason']]} ({', '.join(lost['files'])})"
        )
    if value["lost_frames"]:
        raise GateError(
            f"{out} is written and lacks {value['lost_frames']} pictures that were recorded",
            hint="see the lines above; where a clock was set, join the files from before and after it by themselves",
        )


def _joined_text(value: dict[str, Any]) -> str:
    lines = [
        f"{value['out']}: camera {value['camera']}, {value['frames']} pictures, {value['seconds']:.3f} s, "
        f"largest PTS step {value['step_max_ms']} ms, {len(value['gaps'])} gaps",
    ]
    for piece in value["pieces"]:
        role = "active" if piece["active_frames"] == piece["frames"] else "standby"
        role = role if piece["active_frames"] in (0, piece["frames"]) else "partly active"
        epochs = f", epoch {', '.join(map(str, piece['epochs']))}" if piece["epochs"] else ""
        mirror = ", from its mirror" if piece["mirrored"] else ""
        lines.append(f"  {piece['node']:16} {piece['frames']:8} pictures  {role}{epochs}{mirror}")
    lines.append(
        f"  read {value['read_frames']} pictures: {value['frames']} joined, {value['overlap_frames']} of the same "
        f"exposures, {value['copied_frames']} copies, {value['lost_frames']} not joined"
    )
    lines += [f"  {file}: torn before its first whole fragment" for file in value["empty_files"]]
    for source in value["sources"]:
        if source["torn_bytes"] or source["damaged_bytes"]:
            lines.append(
                f"  {source['file']}: {source['torn_bytes']} bytes torn at its end, {source['damaged_bytes']} damaged"
            )
    return "\n".join(lines)


@recording.command()
@click.argument("file", type=_PATH)
@click.option(
    "--max-step-ms",
    default=_STEP_LIMIT_MS,
    show_default=True,
    type=click.FloatRange(0.1, 60_000.0),
    help="The largest PTS step allowed (FOV-3: one frame).",
)
@click.option("--no-decode", is_flag=True, help="Look at times and key frames only; much faster.")
@json_option
def check(file: Path, max_step_ms: float, no_decode: bool, as_json: bool) -> None:
    """Play a recording through with ffprobe and ffmpeg.

    Says PTS steps, key-frame distance, what the decoder complains of, and for recordings of ours how far PTS and PTP
    time are apart. Exits with 8 when a step is too large, times go back, or a picture cannot be decoded.

    \b
    Examples:
      touchline recording check match.mp4
      touchline recording check match.mp4 --max-step-ms 8.34 --json
    """
    from agent.record.check import check as look

    value = look(file, max_step_ms, decode=not no_decode)
    emit(value, as_json, _check_text(value))
    if not value["good"]:
        raise GateError(f"{file} does not play through as it should", hint="see the lines above; join with the twin's")


def _check_text(value: dict[str, Any]) -> str:
    lines = [
        f"{value['file']}: {value['pictures']} pictures, {value['decoded']} decoded, {value['seconds']:.3f} s",
        f"  PTS step      min {value['step_min_ms']}, median {value['step_median_ms']}, max {value['step_max_ms']} ms "
        f"(limit {value['step_limit_ms']}); {value['steps_above']} above, {value['steps_backward']} backward",
        f"  key frames    {value['key_frames']}, at most {value['key_distance_max']} pictures apart",
    ]
    if value["ptp"] is not None:
        ptp = value["ptp"]
        lines.append(f"  PTS to PTP    at most {ptp['pts_error_max_us']} us apart; node {ptp['node']}")
    if value["torn_bytes"]:
        lines.append(f"  torn tail     {value['torn_bytes']} bytes")
    lines += [f"  decoder       {line}" for line in value["complaints"]]
    return "\n".join(lines)


@recording.command()
@click.argument("sources", nargs=-1, required=True, type=_PATH)
@click.option("--from-ptp-ns", "from_ns", required=True, type=click.IntRange(1), help="Begin, PTP time in ns.")
@click.option("--to-ptp-ns", "to_ns", required=True, type=click.IntRange(1), help="End, PTP time in ns.")
@click.option("--camera", type=click.IntRange(0, 65535), help="Which camera, where the sources hold several.")
@json_option
def continuity(sources: tuple[Path, ...], from_ns: int, to_ns: int, camera: int | None, as_json: bool) -> None:
    """Say how the joined match goes on over a stretch of time, without writing it.

    SOURCES as for join. Largest PTS step, pictures missing, whose pictures they are. Exits with 8 when a step is longer
    than 33.367 ms (FOV-3; of a slower camera: than a frame), or a picture is missing.

    \b
    Example:
      touchline recording continuity recordings --from-ptp-ns 1795254037000000000 --to-ptp-ns 1795254041000000000
    """
    from agent.record.continuity import Stretch
    from agent.record.continuity import continuity as look

    value = look(sources, Stretch(from_ns, to_ns), camera)
    emit(value, as_json, _continuity_text(value))
    if not value["good"]:
        raise GateError("the match does not go on as it should there", hint="see the line above; join with the twin's")


def _continuity_text(value: dict[str, Any]) -> str:
    return (
        f"camera {value['camera']}: {value['pictures']} pictures of {', '.join(value['nodes'])}, largest PTS step "
        f"{value['step_max_ms']} ms (limit {value['step_limit_ms']}), {value['missing']} missing"
    )


@recording.command()
@click.option(
    "--codec", default="h264", show_default=True, type=click.Choice(["h264", "hevc"]), help="For which codec."
)
@click.option("--ffmpeg", default="", help="Path of ffmpeg; the one in PATH if absent.")
@json_option
def encoders(codec: str, ffmpeg: str, as_json: bool) -> None:
    """Try every encoder of a codec here, as the recorder would.

    Each gets a few black pictures through the recorder's own command line; their times and key frames are looked at.

    \b
    Examples:
      touchline recording encoders
      touchline recording encoders --codec hevc --json
    """
    from agent.camera.port import PixelFormat
    from agent.record.command import ENCODERS, Coding, Picture
    from agent.record.probe import find_encoder
    from touchline.errors import ResourceError

    picture = Picture(640, 480, PixelFormat.NV12, 60.0)
    found: dict[str, str] = {}
    for name in ENCODERS[codec]:
        try:
            find_encoder(ffmpeg, Coding(codec=codec, encoder=name), picture)
            found[name] = "works"
        except ResourceError as error:
            found[name] = error.message.partition(f"{name}: ")[2] or error.message
    emit({"codec": codec, "encoders": found}, as_json, "\n".join(f"{name:14} {says}" for name, says in found.items()))
