"""A process is named by its pid and its start; a dying one counts as gone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent.ring import RingReader, RingWriter
from agent.ring.process import Watch, alive, own_start_ticks
from tests.agent.ring.helpers import small_ring, write
from touchline.errors import ResourceError


def test_this_process_is_alive_and_a_former_holder_of_its_pid_is_not():
    assert alive(os.getpid(), own_start_ticks())
    assert not alive(os.getpid(), own_start_ticks() - 1)
    assert not alive(0, 0)


@pytest.mark.system
def test_a_zombie_is_gone_and_a_reaped_process_too():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    fd = os.open(f"/proc/{child.pid}/stat", os.O_RDONLY)
    ticks = int(os.read(fd, 1024).rpartition(b")")[2].split()[19])
    os.close(fd)
    watch = Watch.open(child.pid, ticks)
    assert watch is not None
    assert not watch.dying()
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, not reaped
    assert watch.dying()
    assert not alive(child.pid, ticks)
    child.communicate()
    assert watch.dying()
    assert not alive(child.pid, ticks)
    watch.close()


def test_a_sandbox_that_forbids_pidfds_is_named(monkeypatch):
    def refuse(_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("agent.ring.process.os.pidfd_open", refuse)
    with pytest.raises(ResourceError, match="pidfd_open is refused here"):
        alive(os.getpid(), own_start_ticks())


def test_a_spinning_reader_finds_frames_and_gives_up_in_time():
    ring = small_ring()
    writer, reader = RingWriter(ring), RingReader(ring, 0, spin_us=200)
    assert reader.next(0.001) is None
    write(writer)
    assert reader.next(1.0) is not None
    reader.close()
    ring.close()
