"""Small state files: whole or not at all, on the disk before anybody relies on them, known when they are damaged."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

MAX_FILE_BYTES: Final = 4096


def replace_file(path: Path, text: str, mode: int = 0o600) -> None:
    """Write ``path`` anew: beside it, synced, renamed, folder synced. May take long; raises OSError."""
    fresh = path.with_name(path.name + ".new")
    with suppress(FileNotFoundError):
        fresh.unlink()
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as out:
        out.write(text.encode())
        out.flush()
        os.fsync(out.fileno())
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def checked_line(body: Mapping[str, Any]) -> str:
    """A line of JSON with its checksum."""
    return json.dumps({**body, "crc32": _checksum(body)}) + "\n"


def read_checked(text: str, form: str) -> dict[str, Any]:
    """The body of a line of :func:`checked_line` whose ``format`` is ``form``. Raises ValueError in plain words."""
    try:
        body = json.loads(text)
        if not isinstance(body, dict) or body.get("format") != form:
            raise ValueError(f'not "{form}"')
        if body.pop("crc32", None) != _checksum(body):
            raise ValueError("the checksum is wrong")
    except RecursionError as error:
        raise ValueError("no line of JSON") from error
    return body


def _checksum(body: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(body, sort_keys=True).encode())
