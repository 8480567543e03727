"""``touchline aggregator``: run the rack side, look at it, export the match."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import click

from touchline.errors import GateError, LinkError
from touchline.shell import emit, json_option, note

_PATH = click.Path(path_type=Path, dir_okay=False)


@click.group()
def aggregator() -> None:
    """The rack side: receive records, keep each exactly once, show them.

    \b
    Examples:
      touchline aggregator run --config rack.toml
      touchline aggregator status --url http://127.0.0.1:8080/
      touchline aggregator export --db match.sqlite --out match.parquet
    """


@aggregator.command()
@click.option("--config", "config_path", type=_PATH, required=True, help="Configuration of the rack (TOML).")
def run(config_path: Path) -> None:
    """Subscribe to the broker, store records, serve the page until SIGTERM or Ctrl-C.

    Prints the page's address as the first line.

    \b
    Examples:
      touchline aggregator run --config rack.toml
    """
    from aggregator.app import run_rack
    from touchline.config import RackConfig, load

    config = load(config_path, RackConfig)
    run_rack(config, say=note, ready=lambda url: click.echo(f"Page: {url}"))


@aggregator.command()
@click.option("--url", default="http://127.0.0.1:8080/", show_default=True, help="Address of the page.")
@json_option
def status(url: str, as_json: bool) -> None:
    """Ask a running aggregator how it is.

    \b
    Examples:
      touchline aggregator status
      touchline aggregator status --url http://rack:8080/ --json
    """
    from aggregator.report import status_text

    value = _fetch(url.rstrip("/") + "/api/status")
    emit(value, as_json, status_text(value))


def _fetch(url: str) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise LinkError(f"{url} is no web address", hint="give --url http://HOST:PORT/")
    try:
        with urllib.request.urlopen(url, timeout=5.0) as answer:
            value = json.load(answer)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise LinkError(f"no status from {url}: {reason}", hint="start the aggregator, or correct --url") from error
    if not isinstance(value, dict):
        raise LinkError(f"{url} is no aggregator", hint="correct --url")
    return value


@aggregator.command()
@click.option("--db", type=_PATH, required=True, help="The match database (store.path).")
@click.option("--out", type=_PATH, required=True, help="Parquet file of the records.")
@click.option("--events", type=_PATH, default=None, help="Parquet file of the events, if wanted.")
@json_option
def export(db: Path, out: Path, events: Path | None, as_json: bool) -> None:
    """Write the match to Parquet: ids, coordinates and event codes, no pictures (MSG-3).

    May run while the aggregator does.

    \b
    Examples:
      touchline aggregator export --db match.sqlite --out match.parquet --events events.parquet
    """
    from rich.console import Console
    from rich.progress import Progress

    from aggregator.export import export_events, export_records

    with Progress(console=Console(stderr=True), transient=True, disable=as_json) as bar:
        task = bar.add_task("records", total=None)
        result = export_records(db, out, lambda done, total: bar.update(task, completed=done, total=total))
    value: dict[str, Any] = {"out": str(out), "records": result.records, "bytes": result.bytes}
    text = f"{result.records} records, {result.bytes / 1e6:.1f} MB: {out}"
    if events is not None:
        told = export_events(db, events)
        value |= {"events_out": str(events), "events": told.events}
        text += f"\n{told.events} events: {events}"
    emit(value, as_json, text)


@aggregator.command()
@click.option("--db", type=_PATH, required=True, help="The match database (store.path).")
@json_option
def audit(db: Path, as_json: bool) -> None:
    """Search the whole store for records or frames that are there twice; exit code 8 if there are any.

    \b
    Examples:
      touchline aggregator audit --db match.sqlite --json
    """
    from aggregator.export import audit as search

    found = search(db)
    text = (
        f"{found.records} records in {found.frames} frames: {found.duplicated} duplicated, "
        f"{found.doubled_keys} doubled keys, {found.doubled_frames} frames from two nodes"
    )
    emit(found.as_dict(), as_json, text)
    if not found.clean:
        raise GateError("the store holds duplicates", hint="keep the file and report it: this must never happen")
