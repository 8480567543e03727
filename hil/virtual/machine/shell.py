"""A terminal on the guest's second console (hvc0), where a root shell waits: the operator's way in."""

from __future__ import annotations

import os
import re
import select
import socket
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hil.virtual.machine.link import connect_unix
from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns

ESCAPE: Final = b"\x1d"  # Ctrl-]
_END_OF_INPUT: Final = b"\x04"  # Ctrl-D: the shell ends and the getty starts the next one
_CHUNK_BYTES: Final = 4096
_LINGER_S: Final = 4.0
_LONGEST_S: Final = 60.0
_READY_S: Final = 30.0
_ASK_S: Final = 1.0
_PROMPT: Final = re.compile(rb"[#$] (?:\x1b\[[0-9;?]*[A-Za-z])*\Z")


def attach(path: Path, stdin: int = 0, stdout: int = 1) -> None:
    """Connect a terminal until Ctrl-], or a pipe until its end and 4 s of silence (60 s at most after it).

    A pipe is read once the shell shows its prompt: a login throws away what is typed before it. HardwareError when
    there is none within 30 s.
    """
    with connect_unix(path) as sock, _raw(stdin):
        sock.setblocking(True)
        ready = _type(sock, b"\r") if os.isatty(stdin) else _await_prompt(sock, stdout)  # it was written before we came
        if ready and _forward(sock, stdin, stdout) and _type(sock, _END_OF_INPUT):
            _drain(sock, stdout)


def _await_prompt(sock: socket.socket, stdout: int) -> bool:
    """Ask with empty lines until the shell shows a prompt; False when the node ended."""
    end_ns = monotonic_ns() + int(_READY_S * 1e9)
    said = b""
    while monotonic_ns() < end_ns:
        if not _type(sock, b"\r"):
            return False
        while monotonic_ns() < end_ns and select.select([sock], [], [], _ASK_S)[0]:
            shown = _show(sock, stdout)
            if not shown:
                return False
            said = (said + shown)[-_CHUNK_BYTES:]
            if _PROMPT.search(said):
                return True
    raise HardwareError(
        f"the node's shell shows no prompt within {_READY_S:g} s", hint="look at it: the same command from a terminal"
    )


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
            if not _type(sock, before) or escape:
                return False


def _drain(sock: socket.socket, stdout: int) -> None:
    end_ns = monotonic_ns() + int(_LONGEST_S * 1e9)
    while monotonic_ns() < end_ns and select.select([sock], [], [], _LINGER_S)[0]:
        if not _show(sock, stdout):
            return


def _type(sock: socket.socket, typed: bytes) -> bool:
    """Give the guest some input; False when the node ended."""
    try:
        sock.sendall(typed)
    except ConnectionError:
        return False
    return True


def _show(sock: socket.socket, stdout: int) -> bytes:
    """Copy what the guest says and return it; nothing when the node ended."""
    try:
        said = sock.recv(_CHUNK_BYTES)
    except ConnectionResetError:
        return b""
    view = memoryview(said)
    while view:
        view = view[os.write(stdout, view) :]
    return said


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
