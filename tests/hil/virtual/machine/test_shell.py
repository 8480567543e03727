"""The operator's terminal: a pipe and a pseudo terminal at one end, an echo at the other."""

from __future__ import annotations

import os
import pty
import socket
import termios
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hil.virtual.machine.shell import attach
from tests.hil.virtual.machine.fakes import LineServer, until
from touchline.errors import HardwareError

END = b"\x04"
PROMPT = b"\x1b[?2004hroot@orin-a:~# "


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def node(tmp_path, heard, monkeypatch) -> Iterator[Path]:
    monkeypatch.setattr("hil.virtual.machine.shell._LINGER_S", 60.0)
    monkeypatch.setattr("hil.virtual.machine.shell._ASK_S", 60.0)

    def shell(connection: socket.socket) -> None:
        while typed := connection.recv(100):
            heard.append(typed)
            if b"die" in typed:
                return
            connection.sendall(PROMPT if typed == b"\r" else typed.upper())
            if typed.endswith(END):
                return

    yield from served(tmp_path / "shell.sock", shell)


def served(path: Path, talk: Callable[[socket.socket], None]) -> Iterator[Path]:
    server = LineServer(path, talk)
    yield path
    server.close()


def piped(path: Path, text: bytes, out: Path) -> bytes:
    """What the terminal shows of a script on standard input."""
    read, write = os.pipe()
    os.write(write, text)
    os.close(write)
    try:
        with out.open("wb") as said:
            attach(path, read, said.fileno())
    finally:
        os.close(read)
    return out.read_bytes()


def test_a_pipe_is_typed_in_and_ended(node, heard, tmp_path):
    assert piped(node, b"uname\n", tmp_path / "said") == PROMPT + b"UNAME\n\x04"
    assert b"".join(heard) == b"\runame\n\x04"


def test_a_pipe_waits_for_the_login(tmp_path, monkeypatch):
    monkeypatch.setattr("hil.virtual.machine.shell._LINGER_S", 60.0)
    monkeypatch.setattr("hil.virtual.machine.shell._ASK_S", 0.05)
    heard = bytearray()

    def logs_in(connection: socket.socket) -> None:
        shown = False
        while not heard.endswith(END) and (typed := connection.recv(100)):
            heard.extend(typed)
            if not shown and heard.count(b"\r") >= 3:
                shown = True
                connection.sendall(b"orin-a login: root (automatic login)\r\n\r\n" + PROMPT[:-1])
                connection.sendall(PROMPT[-1:])

    for path in served(tmp_path / "shell.sock", logs_in):
        assert piped(path, b"uname\n", tmp_path / "said").endswith(PROMPT)
    asked = heard.removesuffix(b"uname\n" + END)
    assert len(asked) >= 3
    assert set(asked) == set(b"\r")


def test_a_shell_that_shows_no_prompt_is_told_and_gets_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("hil.virtual.machine.shell._READY_S", 0.2)
    monkeypatch.setattr("hil.virtual.machine.shell._ASK_S", 0.05)
    heard = []

    def busy(connection: socket.socket) -> None:
        while typed := connection.recv(100):
            heard.append(typed)
            connection.sendall(b"\r\n")

    for path in served(tmp_path / "shell.sock", busy):
        with pytest.raises(HardwareError, match=r"no prompt within 0\.2 s"):
            piped(path, b"uname\n", tmp_path / "said")
    assert b"".join(heard).strip(b"\r") == b""


def test_a_node_that_ends_ends_the_terminal(node, tmp_path):
    assert piped(node, b"die", tmp_path / "said") == PROMPT


def test_a_node_that_ends_as_it_is_typed_in_ends_the_terminal(tmp_path, monkeypatch):
    ours, nodes = socket.socketpair()

    class Ending(socket.socket):
        def sendall(self, data: object, flags: int = 0) -> None:
            if data != b"\r":
                raise BrokenPipeError

    monkeypatch.setattr("hil.virtual.machine.shell.connect_unix", lambda _path: Ending(fileno=ours.detach()))
    nodes.sendall(PROMPT)
    assert piped(tmp_path, b"uname\n", tmp_path / "said") == PROMPT
    nodes.close()


def test_a_node_that_ends_before_its_prompt_ends_the_terminal(tmp_path):
    for path in served(tmp_path / "shell.sock", lambda connection: connection.close()):
        assert piped(path, b"uname\n", tmp_path / "said") == b""


def test_a_terminal_is_raw_until_the_escape_and_then_as_before(node, heard):
    person, program = pty.openpty()
    before = termios.tcgetattr(program)
    shell = threading.Thread(target=attach, args=(node, program, program))
    shell.start()
    until(lambda: heard == [b"\r"], "prompt asked for")
    os.write(person, b"\x03ls\x1dnever")  # Ctrl-C goes to the guest, what follows the escape does not
    shell.join(60)
    assert not shell.is_alive()
    until(lambda: b"".join(heard) == b"\r\x03ls", "typed text")
    assert termios.tcgetattr(program) == before
    os.close(person)
    os.close(program)
