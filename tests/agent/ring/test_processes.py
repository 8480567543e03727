"""The ring between real processes: kill -9 on either side, slow readers, overtaking, the kernel's limits."""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.ring import Ring, RingReader, RingSpec, RingWriter, WriterGone
from tests.agent.ring.helpers import stamp_of
from touchline.timeline import monotonic_ns, sleep_until

pytestmark = pytest.mark.system
ROOT = Path(__file__).parents[3]
FRAME = 256 * 1024


class Children:
    """Starts the processes of a test and ends those that are left."""

    def __init__(self) -> None:
        self.all: list[subprocess.Popen[str]] = []

    def start(self, ring: Ring | None, role: str, *arguments: object) -> subprocess.Popen[str]:
        fds = [] if ring is None else [ring.fds().to_text()]
        child = subprocess.Popen(
            [sys.executable, "-m", "tests.agent.ring.child", role, *fds, *map(str, arguments)],
            pass_fds=() if ring is None else ring.fds().all(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        )
        self.all.append(child)
        return child

    def end(self) -> None:
        for child in self.all:
            if child.poll() is None:
                child.kill()
            child.communicate()


@pytest.fixture
def children():
    children = Children()
    yield children
    children.end()


@pytest.fixture
def ring():
    ring = Ring.create(RingSpec(16, FRAME, readers=2), lock="off")
    yield ring
    ring.close()


def heard(child: subprocess.Popen[str]) -> dict[str, object]:
    """One line of what a child says."""
    assert child.stdout is not None
    line = child.stdout.readline()
    assert line, f"the child said nothing and ended with {child.wait()}"
    return dict(json.loads(line))


def until(condition: Callable[[], bool]) -> None:
    deadline_ns = monotonic_ns() + 60_000_000_000
    while not condition():
        assert monotonic_ns() < deadline_ns
        sleep_until(monotonic_ns() + 5_000_000)


def wait_for_end(reader: RingReader) -> tuple[int, WriterGone]:
    """Read until the writer is gone; return when that was said."""
    with pytest.raises(WriterGone) as caught:
        while True:
            assert reader.next(60.0) is not None
    return monotonic_ns(), caught.value


def test_two_readers_see_the_same_whole_frames_while_one_of_them_is_slow(ring, children):
    fast, slow = children.start(ring, "read", 0, 0), children.start(ring, "read", 1, 0.03)
    assert heard(fast) == heard(slow) == {"ready": True}
    children.start(ring, "write", 200, 300)
    quick, late = heard(fast), heard(slow)
    for seen in (quick, late):
        assert (seen["torn_unseen"], seen["rising"], seen["orderly"]) == (0, True, True)
        assert seen["handed"] + seen["skipped"] == 300  # type: ignore[operator]
        assert seen["good"] + seen["late"] == seen["handed"]  # type: ignore[operator]
    assert late["skipped"] > 0  # type: ignore[operator]
    assert quick["handed"] > late["handed"]  # type: ignore[operator]


def test_a_reader_that_is_overtaken_knows_it(ring, children):
    """A writer without any pause laps a reader that rests while it looks."""
    reader = children.start(ring, "read", 0, 0.02)
    heard(reader)
    writer = children.start(ring, "write", 0, 0)
    until(lambda: ring.ledger().readers[0].late > 0)
    writer.kill()
    writer.wait()
    seen = heard(reader)
    assert seen["torn_unseen"] == 0
    assert seen["late"] > 0  # type: ignore[operator]
    assert seen["good"] + seen["late"] == seen["handed"]  # type: ignore[operator]
    assert seen["handed"] + seen["skipped"] == ring.ledger().committed  # type: ignore[operator]


@pytest.mark.parametrize("slots", [16, 3000])
def test_a_killed_writer_is_noticed_within_a_frame_time(children, slots):
    """Also when the kernel takes long to take its mapping down. The median, for one may fall to a pause of ours."""
    ring = Ring.create(RingSpec(slots, FRAME), lock="off")
    reader = RingReader(ring, 0)
    took_ns = []
    for _ in range(5):
        writer = children.start(ring, "write", 100, 0)
        for _ in range(5):
            assert reader.next(60.0) is not None
        killed_ns = monotonic_ns()
        os.kill(writer.pid, signal.SIGKILL)
        told_ns, gone = wait_for_end(reader)
        took_ns.append(told_ns - killed_ns)
        assert gone.pid == writer.pid
        assert not gone.orderly
        writer.wait()
    # a frame time at 25 frames/s; 4 ms where nobody else wants the processor
    assert statistics.median(took_ns) < 40_000_000, took_ns
    reader.close()
    ring.close()


def test_a_writer_killed_half_way_leaves_nothing_torn_and_its_successor_continues(ring, children):
    reader = RingReader(ring, 0)
    first = children.start(ring, "write-half")
    assert heard(first) == {"half": True}
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    _, gone = wait_for_end(reader)
    assert gone.pid == first.pid
    second = children.start(ring, "write", 0, 3)
    assert heard(second) == {"started": 1}
    for number in (1, 2, 3):
        frame = reader.next(60.0)
        assert frame is not None
        assert (frame.index, set(frame.payload)) == (number, {number})
    assert ring.ledger().abandoned == 1
    assert wait_for_end(reader)[1].orderly
    reader.close()


def test_a_killed_reader_hurts_neither_the_writer_nor_the_other_and_its_successor_counts_the_loss(ring, children):
    writer, other = RingWriter(ring), RingReader(ring, 1)
    victim = children.start(ring, "hold", 0)
    until(lambda: ring.ledger().readers[0].lives > 0)

    def write_and_read(number: int) -> None:
        writer.acquire()
        writer.commit(number, stamp_of(number))
        frame = other.next(60.0)
        assert frame is not None and frame.index == number

    write_and_read(0)
    assert heard(victim) == {"holds": 0}
    os.kill(victim.pid, signal.SIGKILL)
    for number in range(1, 50):
        write_and_read(number)
    victim.wait()
    again = RingReader(ring, 0)
    frame = again.next(5.0)
    assert frame is not None and frame.index == 49
    ledger = again.ledger()
    assert (ledger.handed, ledger.skipped, ledger.abandoned, ledger.lives) == (2, 48, 1, 2)
    again.close()
    other.close()


def test_a_reader_cannot_write_a_pixel(ring, children):
    child = children.start(ring, "read-only")
    writer = RingWriter(ring)
    writer.acquire()
    writer.commit(0, stamp_of(0))
    assert heard(child) == {"tries": True}
    assert child.wait(60) == -signal.SIGSEGV


def test_the_lock_limit_of_the_kernel_is_named(children):
    said = heard(children.start(None, "lock", "required"))
    assert "RLIMIT_MEMLOCK is 1048576 bytes (1.0 MiB)" in str(said["message"])
    assert "LimitMEMLOCK=infinity" in str(said["hint"])
    assert said["code"] == 5


def test_auto_runs_unlocked_under_the_limit_and_says_so(children):
    said = heard(children.start(None, "lock", "auto"))
    assert said["locked"] is False
    assert "not locked" in str(said["notes"])
