"""The guest's shell and files, against an agent that serves this host."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import pytest

from hil.virtual.machine.guest_agent import GuestAgent
from tests.hil.virtual.machine.fakes import FakeAgent, LineServer
from touchline.errors import HardwareError


@pytest.fixture
def connect(tmp_path) -> Iterator[Callable[..., GuestAgent]]:
    ends: list[Callable[[], None]] = []

    def make(agent: FakeAgent) -> GuestAgent:
        server = LineServer(tmp_path / "agent.sock", agent.talk)
        guest = GuestAgent(tmp_path / "agent.sock")
        ends.extend((guest.close, server.close))
        return guest

    yield make
    for close in ends:
        close()


def test_a_command_gives_its_output_and_status(connect):
    guest = connect(FakeAgent())
    result = guest.run("echo out; echo err >&2; exit 3", check=False)
    assert (result.exit_code, result.out, result.err) == (3, "out\n", "err\n")


def test_a_failed_command_raises_with_its_words(connect):
    with pytest.raises(HardwareError, match=r"guest: 'echo no such fan >&2; false' failed with status 1: no such fan"):
        connect(FakeAgent()).run("echo no such fan >&2; false")


def test_a_signal_counts_as_a_shell_counts_it(connect):
    assert connect(FakeAgent()).run("kill -TERM $$", check=False).exit_code == 128 + 15


def test_a_timeout_names_the_command_and_ends_it(connect, tmp_path):
    guest = connect(FakeAgent())
    with pytest.raises(HardwareError, match=r"'sleep 30; echo never' did not finish within 0\.2 s"):
        guest.run("sleep 30; echo never", timeout_s=0.2)
    assert guest.run("echo still here").out == "still here\n"


class LateAgent(FakeAgent):
    """Says that it has started a command when that has ended."""

    def exec(self, path: str, arg: list[str], capture_output: bool, input_data: str = "") -> dict[str, int]:
        started = super().exec(path, arg, capture_output, input_data)
        self._processes[started["pid"]].wait()
        return started


def test_a_timeout_is_one_also_when_the_agent_is_late_with_its_answer(connect):
    with pytest.raises(HardwareError, match=r"'sleep 30' did not finish within 0\.2 s"):
        connect(LateAgent()).run("sleep 30", timeout_s=0.2)


def test_a_command_killed_early_is_no_timeout(connect):
    assert connect(FakeAgent()).run("kill -KILL $$", check=False).exit_code == 128 + 9


def test_what_an_earlier_conversation_left_is_dropped(connect):
    stale = b'{"return": 77}\n{"return": {"exited": tru\xff{"return": 12345}\n'
    guest = connect(FakeAgent(junk=stale))
    assert guest.try_sync(60.0)
    assert guest.run("echo mine").out == "mine\n"


def test_an_agent_that_is_silent_once_does_not_poison_the_next_answer(connect):
    agent = FakeAgent(deaf_to=frozenset({"guest-exec-status"}))
    guest = connect(agent)
    pid = guest._start("true", b"", 10.0)
    with pytest.raises(HardwareError, match=r"did not answer guest-exec-status within 0\.1 s"):
        guest._ask("guest-exec-status", {"pid": pid}, timeout_s=0.1)
    agent.deaf_to = frozenset()
    assert guest.run("echo again").out == "again\n"


def test_a_deaf_agent_is_not_synchronised(connect):
    guest = connect(FakeAgent(deaf_to=frozenset({"guest-sync-delimited"})))
    assert not guest.try_sync(0.05)


@pytest.mark.parametrize("size", [0, 5, 4096, 700_000])
def test_files_come_back_as_they_were_written(connect, tmp_path, size):
    guest = connect(FakeAgent())
    path, data = tmp_path / "folder of the guest" / "file", os.urandom(size)
    guest.write_file(str(path), data, 0o640)
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o777 == 0o640
    assert guest.read_file(str(path)) == data
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_a_file_in_proc_is_read_though_it_claims_to_be_empty(connect):
    assert connect(FakeAgent()).read_file("/proc/version").startswith(b"Linux")


def test_a_missing_file_is_named(connect):
    guest = connect(FakeAgent())
    with pytest.raises(HardwareError, match="cannot read /nowhere/at/all in the guest"):
        guest.read_file("/nowhere/at/all")
    with pytest.raises(HardwareError, match="cannot read /proc/nothing in the guest"):
        guest.read_file("/proc/nothing")


def test_the_guests_clock_is_read_in_ns(connect):
    assert connect(FakeAgent()).time_ns() == 1_700_000_000_000_000_000
