"""``touchline protect flush-logs`` and ``flush-trace``."""

from __future__ import annotations

from pathlib import Path

import click

from touchline.errors import ResourceError
from touchline.shell import config_option, emit, json_option, note

_FOLDER = click.Path(path_type=Path, file_okay=False)


@click.command("flush-logs")
@config_option()
@click.option("--run-dir", type=_FOLDER, help="Folder of the status; absent: [node] run_dir, or where its links lead.")
@json_option
def flush_logs(config_path: Path, run_dir: Path | None, as_json: bool) -> None:
    """Have journald write, sync the file systems of [protect] flush_paths, and say how long it took.

    Exit code 5 when a file system tells of writes that failed. A slow flush is a warning, here and in the status.

    \b
    Examples:
      sudo touchline protect flush-logs --config /etc/touchline/node.toml
      sudo touchline protect flush-logs --config /etc/touchline/node.toml --json
    """
    from thermal.protect.flush import FILE, FlushPorts, flush_once, read_flush, sync_journal, syncfs, write_flush
    from thermal.protect.service_cli import load_protect
    from thermal.whole import home_of
    from touchline.timeline import monotonic_ns

    config, section = load_protect(config_path)
    path = (run_dir or home_of(config.node.run_dir / FILE)) / FILE
    ports = FlushPorts(monotonic_ns, syncfs, sync_journal)
    document = flush_once(section.flush_paths, section.flush_slow_ms, ports, read_flush(path))
    try:
        write_flush(path, document)
    except OSError as error:
        raise ResourceError(f"flushed, but its status cannot be written: {error}", hint="run it with sudo") from error
    if document["slow"]:
        note(f"slow: {document['total_ms']:.0f} ms, {section.flush_slow_ms:g} ms are expected (flush_slow_ms)")
    if document["trouble"]:
        note(document["trouble"])
    each = ", ".join(f"{one['path']} {one['ms']:.1f} ms" for one in document["paths"])
    emit(
        document, as_json, f"flushed in {document['total_ms']:.1f} ms: journal {document['journal_ms']:.1f} ms, {each}"
    )
    if not document["ok"]:
        raise ResourceError(document["trouble"], hint="look at the kernel's log: dmesg | grep -i error")


@click.command("flush-trace")
@config_option()
@json_option
def flush_trace(config_path: Path, as_json: bool) -> None:
    """Bring the trace of the first half to the NVMe and free its memory. Frames go on meanwhile.

    What cannot be brought there stays in the ring; doing it again, or after a kill, loses and doubles nothing. An
    archive that would outgrow [protect] trace_archive_max loses what was flushed first; one on a disk that is full and
    about to be read-only is not written to.

    \b
    Examples:
      touchline protect flush-trace --config /etc/touchline/node.toml
      touchline protect flush-trace --config /etc/touchline/node.toml --json
    """
    from thermal.protect.quiet import QuietFlag
    from thermal.protect.service_cli import load_protect
    from thermal.trace import trace_dir
    from thermal.trace.flush import Archive, flush_rings
    from touchline.timeline import monotonic_ns
    from touchline.units import format_bytes

    config, section = load_protect(config_path)
    folder = trace_dir(config)
    if folder is None:
        raise ResourceError("protect.trace_max is 0: nothing is traced", hint="set it, or leave this out")

    def progress(writer: str, done: int, total: int) -> None:
        note(f"{writer}: {done} of {total} files")

    begun_ns = monotonic_ns()
    place = Path(section.trace_archive)
    quiet = QuietFlag(config.node.run_dir, place)
    archive = Archive(place, config.node.name, section.trace_archive_bytes, lambda: quiet.why(monotonic_ns()))
    done = flush_rings(folder, archive, progress)
    seconds = (monotonic_ns() - begun_ns) / 1e9
    document = {
        "archive": section.trace_archive,
        "files": done.files,
        "records": done.records,
        "bytes": done.bytes,
        "open": done.left,
        "damaged": done.damaged,
        "dropped_files": done.dropped,
        "dropped_bytes": done.dropped_bytes,
        "seconds": round(seconds, 3),
    }
    if done.dropped:
        note(f"{done.dropped} files, {format_bytes(done.dropped_bytes)}, flushed first, went for trace_archive_max")
    damaged = f"; {done.damaged} files are damaged and stay" if done.damaged else ""
    text = f"{done.records} records, {format_bytes(done.bytes)}, to {section.trace_archive} in {seconds:.1f} s{damaged}"
    emit(document, as_json, text if done.files or done.damaged else "the trace ring is empty")
