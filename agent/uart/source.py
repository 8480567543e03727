"""Where bytes of the serial line come from: a file, standard input, or the port at its far end."""

from __future__ import annotations

import os
import select
import stat
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from agent.uart.port import SerialPort, open_port
from agent.uart.scan import Found, Scanner
from touchline.errors import HardwareError, InputError

_CHUNK: Final = 65536


def each_found(source: Path, baud: int) -> Iterator[Found]:
    """Yield what is found in the source, as it comes; a port never ends but by its loss (HardwareError)."""
    scanner = Scanner()
    chunks = _of_port(source, baud) if _is_port(source) else _of_file(source)
    for chunk in chunks:
        yield from scanner.feed(chunk)
    yield from scanner.end()


def _is_port(source: Path) -> bool:
    try:
        return str(source) != "-" and stat.S_ISCHR(source.stat().st_mode)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}", hint="name a file or a port") from error


def _of_file(source: Path) -> Iterator[bytes]:
    """As soon as bytes are there: standard input may be a pipe that goes on."""
    try:
        fd = os.dup(sys.stdin.fileno()) if str(source) == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror}", hint="name a file that you may read") from error
    try:
        while chunk := os.read(fd, _CHUNK):
            yield chunk
    finally:
        os.close(fd)


def _of_port(source: Path, baud: int) -> Iterator[bytes]:
    if not hasattr(termios, f"B{baud}"):
        raise InputError(f"--baud {baud} is no rate of the kernel's table", hint="1000000, or that of [uart]")
    port = open_port(source, baud)
    try:
        while True:
            select.select([port], [], [])
            yield _read(port)
    finally:
        port.close(restore=True)


def _read(port: SerialPort) -> bytes:
    try:
        chunk = port.read(_CHUNK)
    except BlockingIOError:
        return b""
    except OSError as error:
        raise HardwareError(f"{port.path} is gone: {error.strerror}", hint="plug it in again") from error
    if not chunk:
        raise HardwareError(f"{port.path} is gone: its other end is closed", hint="plug it in again")
    return chunk
