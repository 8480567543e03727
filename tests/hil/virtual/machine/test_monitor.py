"""QEMU's machine protocol against a scripted QEMU."""

from __future__ import annotations

import json
import socket

import pytest

from hil.virtual.machine.link import LinkClosed, connect_unix
from hil.virtual.machine.monitor import Qmp
from tests.hil.virtual.machine.fakes import LineServer
from touchline.errors import HardwareError

GREETING = b'{"QMP": {"version": {}, "capabilities": []}}\n'
RESET = b'{"event": "RESET", "data": {"guest": true}, "timestamp": {"seconds": 5, "microseconds": 250000}}\n'


def qemu(connection: socket.socket) -> None:
    connection.sendall(GREETING)
    with connection.makefile("rb") as lines:
        for line in lines:
            command = json.loads(line)["execute"]
            if command == "quit":
                return
            if command == "bad":
                connection.sendall(b'{"error": {"class": "GenericError", "desc": "no such device"}}\n')
            elif command == "silent":
                continue
            elif command == "slowly":
                for byte in RESET + b'{"return": 1}\n':
                    connection.sendall(bytes([byte]))
            else:
                connection.sendall(RESET + b'{"return": {"command": "%s"}}\n' % command.encode() + RESET)


@pytest.fixture
def monitor(tmp_path):
    server = LineServer(tmp_path / "qmp.sock", qemu)
    qmp = Qmp(tmp_path / "qmp.sock")
    yield qmp
    qmp.close()
    server.close()


def test_an_answer_is_found_among_events_and_they_are_kept(monitor):
    assert monitor("query-status") == {"command": "query-status"}
    monitor.poll(1.0)
    assert [event.name for event in monitor.events] == ["RESET"] * 4  # two of them from the handshake
    assert (monitor.events[0].data, monitor.events[0].at_s) == ({"guest": True}, 5.25)


def test_lines_may_come_in_pieces(monitor):
    assert monitor("slowly") == 1


def test_a_refusal_is_in_qemus_own_words(monitor):
    with pytest.raises(HardwareError, match="QEMU refused bad: no such device"):
        monitor("bad")


def test_silence_ends_at_the_deadline(monitor):
    with pytest.raises(HardwareError, match=r"did not answer silent within 0\.1 s"):
        monitor.execute("silent", timeout_s=0.1)


def test_hanging_up_on_quit_is_an_answer(monitor):
    monitor.quit()
    with pytest.raises(LinkClosed):
        monitor("query-status")


def test_nobody_there_is_said(tmp_path):
    with pytest.raises(HardwareError, match="nobody answers"):
        connect_unix(tmp_path / "none.sock", timeout_s=0.05)


def test_a_check_ends_the_wait(tmp_path):
    def dead() -> None:
        raise HardwareError("QEMU ended")

    with pytest.raises(HardwareError, match="QEMU ended"):
        connect_unix(tmp_path / "none.sock", timeout_s=60.0, check=dead)


def test_a_path_too_long_for_a_socket_address_works(tmp_path, monkeypatch):
    deep = tmp_path / ("d" * 80) / ("e" * 80)
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind("x.sock")
    listener.listen(1)
    connect_unix(deep / "x.sock").close()
    listener.close()
