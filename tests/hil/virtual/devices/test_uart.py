"""The far end of the serial line on a real socket."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.virtual.devices.uart import Uart
from touchline.errors import HardwareError, LinkError


@pytest.fixture
def line(tmp_path) -> Iterator[tuple[Uart, socket.socket]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as server:
        server.bind(str(tmp_path / "uart.sock"))
        server.listen(1)
        uart = Uart(tmp_path / "uart.sock", buffer_bytes=1000)
        uart.connect()
        node, _ = server.accept()
        with node:
            yield uart, node
        uart.close()


def test_bytes_both_ways(line):
    uart, node = line
    assert uart.read(0.0) == b""
    node.sendall(b"\x00\xff")
    assert uart.read(5.0) == b"\x00\xff"
    uart.write(b"reset\r\n")
    assert node.recv(100) == b"reset\r\n"


def test_lines_with_either_end_and_the_rest_kept(line):
    uart, node = line
    node.sendall(b"one\r\ntwo\nthr")
    assert [uart.read_line(5.0), uart.read_line(0.0), uart.read_line(0.0)] == [b"one", b"two", None]
    node.sendall(b"ee\n")
    assert uart.read_line(5.0) == b"three"


def test_what_nobody_reads_is_dropped_from_the_front_and_counted(line):
    uart, node = line
    node.sendall(b"a" * 1500)
    assert uart.read_line(0.2) is None
    assert uart.dropped == 500
    assert uart.read(0.0) == b"a" * 1000


def test_a_node_that_takes_nothing(line):
    uart, _ = line
    with pytest.raises(LinkError, match="the node took"):
        uart.write(b"x" * 4_000_000, timeout_s=0.1)


def test_no_node(tmp_path):
    with pytest.raises(HardwareError, match="cannot open the serial line"):
        Uart(Path(tmp_path / "absent.sock")).read(0.0)
