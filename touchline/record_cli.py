"""``touchline record``: decode batches, print the layout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import BinaryIO

import click

from touchline.errors import InputError
from touchline.shell import emit, json_option


@click.group()
def record() -> None:
    """The 104-byte record: decode it, print its layout.

    \b
    Examples:
      touchline record spec
      touchline record spec --format c > touchline_record.h
      touchline record spec --format wireshark > touchline.lua
      touchline record decode burst.tlb --limit 5
      mosquitto_sub ... -t 'tl/v1/+/det' -C 1 -N | touchline record decode - --json
    """


@record.command()
@click.argument("source", type=click.Path(allow_dash=True, path_type=Path))
@click.option("--limit", default=20, show_default=True, help="Records shown of each batch.", type=click.IntRange(0))
@json_option
def decode(source: Path, limit: int, as_json: bool) -> None:
    """Decode the batches in SOURCE, a file or - for standard input.

    \b
    Examples:
      touchline record decode burst.tlb
      touchline record decode - --json < burst.tlb
    """
    from touchline.record_text import batch_dict, batch_text, read_batches

    try:
        stream: BinaryIO = sys.stdin.buffer if str(source) == "-" else source.open("rb")
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}", hint="name an existing file") from error
    with stream:
        batches = [batch_dict(header, records, limit) for header, records in read_batches(stream)]
    emit({"batches": batches}, as_json, "\n\n".join(batch_text(batch) for batch in batches))


@record.command()
@click.option(
    "--format",
    "kind",
    default="text",
    show_default=True,
    type=click.Choice(["text", "json", "c", "wireshark"]),
    help="What to print.",
)
def spec(kind: str) -> None:
    """Print the layout as text, JSON, a C header or a Wireshark dissector; all from the one definition.

    \b
    Examples:
      touchline record spec
      touchline record spec --format wireshark > touchline.lua
    """
    from touchline import record_spec

    if kind in ("text", "json"):
        emit(record_spec.spec_dict(), kind == "json", record_spec.spec_text())
    else:
        click.echo(record_spec.c_header() if kind == "c" else record_spec.wireshark_dissector(), nl=False)
