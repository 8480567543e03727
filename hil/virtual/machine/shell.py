"""A terminal on the guest's second console (hvc0), where a root shell waits: the operator's way in."""

from __future__ import annotations

import os
import select
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hil.virtual.machine.link import connect_unix
from touchline.timeline import monotonic_ns

ESCAPE: Final = b"\x1d"  # Ctrl-]
_END_OF_INPUT: Final = b"\x04"  # Ctrl-D: the shell ends and the getty starts the next one
_CHUNK_BYTES: Final = 4096
_LINGER_S: Final = 1.5
_LONGEST_S: Final = 60.0


def attach(path: Path, stdin: int = 0, stdout: int = 1) -> None:
    """Connect a terminal until Ctrl-], or a pipe until its end and 1.5 s of silence (60 s at most after it)."""
    with connect_unix(path) as sock, _raw(stdin):
        sock.setblocking(True)
        if os.isatty(stdin):
            sock.sendall(b"\r")  # the prompt was written before we came
        if _forward(sock, stdin, stdout):
            sock.sendall(_END_OF_INPUT)
            _drain(sock, stdout)


def _forward(sock: socket.socket, stdin: int, stdout: int) -> bool:
    """Copy both ways; True at the end of the input, False at the escape or when the node ended."""
    while True:
        ready, _, _ = select.select([sock.fileno(), stdin], [], [])
        if sock.fileno() in ready and not _show(sock, stdout):
            return False
        if stdin in ready:
            typed = os.read(stdin, _CHUNK_BYTES)
            if not typed:
                return True
            before, escape, _ = typed.partition(ESCAPE)
            sock.sendall(before)
            if escape:
                return False


def _drain(sock: socket.socket, stdout: int) -> None:
    end_ns = monotonic_ns() + int(_LONGEST_S * 1e9)
    while monotonic_ns() < end_ns and select.select([sock], [], [], _LINGER_S)[0]:
        if not _show(sock, stdout):
            return


def _show(sock: socket.socket, stdout: int) -> bool:
    try:
        said = sock.recv(_CHUNK_BYTES)
    except ConnectionResetError:
        return False
    view = memoryview(said)
    while view:
        view = view[os.write(stdout, view) :]
    return bool(said)


@contextmanager
def _raw(stdin: int) -> Iterator[None]:
    if not os.isatty(stdin):
        yield
        return
    before = termios.tcgetattr(stdin)
    try:
        tty.setraw(stdin)
        yield
    finally:
        termios.tcsetattr(stdin, termios.TCSADRAIN, before)
