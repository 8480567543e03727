"""The operator's terminal: a pipe and a pseudo terminal at one end, an echo at the other."""

from __future__ import annotations

import os
import pty
import socket
import termios
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.virtual.machine.shell import attach
from tests.hil.virtual.machine.fakes import LineServer, until


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def node(tmp_path, heard) -> Iterator[Path]:
    def echo(connection: socket.socket) -> None:
        while typed := connection.recv(100):
            heard.append(typed)
            if b"die" in typed:
                return
            connection.sendall(typed.upper())

    server = LineServer(tmp_path / "shell.sock", echo)
    yield tmp_path / "shell.sock"
    server.close()


def test_a_pipe_is_typed_in_and_ended(node, heard, tmp_path, monkeypatch):
    monkeypatch.setattr("hil.virtual.machine.shell._LINGER_S", 0.2)
    read, write = os.pipe()
    os.write(write, b"uname\n")
    os.close(write)
    with (tmp_path / "said").open("wb") as out:
        attach(node, read, out.fileno())
    os.close(read)
    assert (tmp_path / "said").read_bytes() == b"UNAME\n\x04"
    assert b"".join(heard) == b"uname\n\x04"


def test_a_node_that_ends_ends_the_terminal(node, tmp_path):
    read, write = os.pipe()
    os.write(write, b"die")
    with (tmp_path / "said").open("wb") as out:
        attach(node, read, out.fileno())
    os.close(read)
    os.close(write)


def test_a_terminal_is_raw_until_the_escape_and_then_as_before(node, heard):
    person, program = pty.openpty()
    before = termios.tcgetattr(program)
    shell = threading.Thread(target=attach, args=(node, program, program))
    shell.start()
    until(lambda: heard == [b"\r"], "prompt asked for")
    os.write(person, b"\x03ls\x1dnever")  # Ctrl-C goes to the guest, what follows the escape does not
    shell.join(10)
    assert not shell.is_alive()
    until(lambda: b"".join(heard) == b"\r\x03ls", "typed text")
    assert termios.tcgetattr(program) == before
    os.close(person)
    os.close(program)
