"""Hand-over of 1280x720 raw16 frames: the ring beside multiprocessing.Queue and GStreamer's shmsink/shmsrc.

One writer, two readers in processes of their own, the same frame, the same run, nobody loses a frame (the ring's
writer waits here as a file source would; a camera's never does). Two kinds of rows:

* hand-over: the frame has landed already (for the ring: in its slot; for a peer: in the sender's memory) and must reach
  both readers. What a peer copies to bring it there is its own cost, and the ring copies nothing.
* with the landing copy: everybody also copies the frame from the camera's buffer first.

The bars of 20 x multiprocessing.Queue and 5 x GStreamer are on the hand-over of a frame that has landed already, NOT
on the rows with the landing copy: those are shown without a bar, because that copy alone is their ceiling. On the
machine of docs/measurements/2026-11-21.md the bare copy makes 16,300 frames/s, which is 18.4 x the Queue and 3.7 x
GStreamer, so no design that lands pixels with the processor can reach the factors there (docs/decisions/0003-ring.md).
What the ring adds to the copy is held by its own bar: at least half of the bare copy's rate.

Readers look at the first bytes of each frame. Exit code 8 when a bar is missed; a peer that is not installed is a
missed bar, with the reason in its row.

    python -m benchmarks.ring [--json FILE] [--seconds S]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from agent.ring import Ring, RingFds, RingReader, RingSpec, RingWriter, WriterGone
from benchmarks.common import Row, report
from benchmarks.ring_gst import GstSender, receive
from touchline.errors import ResourceError
from touchline.timeline import ClockState, Stamp, monotonic_ns, sleep_until

FRAME_BYTES: Final = 1280 * 720 * 2
READERS: Final = 2
SLOTS: Final = 64
RATE_HZ: Final = 240.0
QUIET_S: Final = 1.0  # a peer without an end-of-stream mark is over when nothing came for so long
HEAD: Final = struct.Struct("@Q")
BAR_MISSED: Final = 8  # as GateError
HAND_OVER: Final = "hand-over of a landed frame"
LANDED: Final = "with the landing copy"

Three = tuple[float, float, float]  # hand-over p50 us, hand-overs/s, frames/s with the landing copy


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer, the bar on its hand-over, and the one on its row with the landing copy; None: shown, and why."""

    name: str
    bar: float
    landed_bar: float | None
    why: str = ""


_SHOWN: Final = "shown: the bar is on the hand-over of a landed frame, decision 0003"
QUEUE: Final = Peer("multiprocessing.Queue", 20, None, _SHOWN)
GST: Final = Peer("GStreamer shmsink/shmsrc", 5, None, _SHOWN)


@dataclass(frozen=True, slots=True)
class Seen:
    """What one reader saw: frames, when it had the first and the last, and how long hand-over took."""

    frames: int
    first_ns: int
    last_ns: int
    p50_us: float
    p99_us: float
    skipped: int = 0
    late: int = 0

    @property
    def rate_hz(self) -> float:
        """Frames per second between the first and the last."""
        return (self.frames - 1) / max(1, self.last_ns - self.first_ns) * 1e9


def summarise(arrivals: Iterable[tuple[int, int]], skipped: int = 0, late: int = 0) -> Seen:
    """Turn (received, sent) pairs, monotonic ns, into what is reported."""
    pairs = np.array(list(arrivals), dtype=np.int64).reshape(-1, 2)
    if len(pairs) < 2:
        raise ResourceError(f"a reader saw only {len(pairs)} frames", hint="run it again on a quieter machine")
    p50, p99 = np.percentile((pairs[:, 0] - pairs[:, 1]) / 1e3, [50, 99])
    return Seen(len(pairs), int(pairs[0, 0]), int(pairs[-1, 0]), float(p50), float(p99), skipped, late)


def read_ring(fds: str, index: int) -> Seen:
    """Read a ring until its writer closes it; hand-over counts from the start of commit."""
    ring = Ring.attach(RingFds.from_text(fds))
    reader = RingReader(ring, index)
    print("ready", flush=True)
    arrivals: list[tuple[int, int]] = []
    try:
        while True:
            frame = reader.next(10.0)
            if frame is not None:
                now_ns = monotonic_ns()
                HEAD.unpack_from(frame.payload)
                if frame.still_valid():
                    arrivals.append((now_ns, frame.landed_monotonic_ns))
    except WriterGone:
        pass
    ledger = reader.ledger()
    return summarise(arrivals, ledger.skipped, ledger.late)


def read_gst(socket: str) -> Seen:
    """Read GStreamer's shared memory until nothing comes."""
    print("ready", flush=True)
    return summarise(receive(Path(socket), QUIET_S + 2.0))


def read_queue(queue: Any, results: Any) -> None:
    """Read a multiprocessing.Queue until None comes."""

    def arrivals() -> Iterator[tuple[int, int]]:
        while (data := queue.get()) is not None:
            yield monotonic_ns(), HEAD.unpack_from(data)[0]

    results.put(asdict(summarise(arrivals())))


def start_readers(role: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> list[subprocess.Popen[str]]:
    """Start the readers and wait until each says that it is ready."""
    readers = []
    for index in range(READERS):
        command = [sys.executable, "-m", "benchmarks.ring", "--role", role, "--index", str(index), *arguments]
        readers.append(subprocess.Popen(command, pass_fds=pass_fds, stdout=subprocess.PIPE, text=True))
    for reader in readers:
        if reader.stdout is None or reader.stdout.readline() != "ready\n":
            raise ResourceError(f"a {role} reader did not start")
    return readers


def results_of(readers: list[subprocess.Popen[str]]) -> list[Seen]:
    """Wait for the readers and return what they saw."""
    return [Seen(**json.loads(reader.communicate(timeout=60)[0])) for reader in readers]


def send_for(seconds: float, rate_hz: float | None, send: Callable[[int], None]) -> int:
    """Call ``send(number)`` for so long, paced or as fast as it goes; return how often."""
    start_ns = monotonic_ns()
    end_ns, number = start_ns + int(seconds * 1e9), 0
    while monotonic_ns() < end_ns:
        if rate_hz is not None:
            sleep_until(start_ns + int(number / rate_hz * 1e9))
        send(number)
        number += 1
    return number


def source_frame() -> memoryview:
    """Return a frame in the camera's buffer."""
    return memoryview(np.random.default_rng(1).integers(0, 256, FRAME_BYTES, dtype=np.uint8).tobytes())


def bare_landing(seconds: float) -> tuple[float, float]:
    """Return (frames/s, p50 us) of copying a frame into one slot after another with nobody reading."""
    ring = Ring.create(RingSpec(SLOTS, FRAME_BYTES), lock="auto")
    views, source = ring.map_payload(writable=True), source_frame()
    times: list[int] = []
    for view in views:
        view[:] = source
    start_ns = monotonic_ns()
    while monotonic_ns() < start_ns + seconds * 1e9:
        before_ns = monotonic_ns()
        views[len(times) % SLOTS][:] = source
        times.append(monotonic_ns() - before_ns)
    elapsed_s = (monotonic_ns() - start_ns) / 1e9
    for view in views:
        view.release()
    ring.close()
    return len(times) / elapsed_s, statistics.median(times) / 1e3


def run_ring(seconds: float, rate_hz: float | None, landing: bool = True) -> list[Seen]:
    """Write a ring with two readers."""
    ring = Ring.create(RingSpec(SLOTS, FRAME_BYTES, READERS), lock="auto")
    writer, source, stamp = RingWriter(ring), source_frame(), Stamp(0, 0, 0, ClockState.UNLOCKED)
    readers = start_readers("ring", "--target", ring.fds().to_text(), pass_fds=ring.fds().all())

    def send(number: int) -> None:
        slot = writer.acquire()
        if landing:
            slot[:] = source
        writer.commit(number, stamp)
        if number % 8 == 0:
            while writer.backlog() > SLOTS - 16:
                os.sched_yield()

    send_for(seconds, rate_hz, send)
    writer.close()
    seen = results_of(readers)
    ring.close()
    return seen


def run_gst(seconds: float, rate_hz: float | None, landing: bool = True) -> list[Seen]:
    """Push through shmsink to two shmsrc."""
    source = source_frame() if landing else None
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "frames"
        sender = GstSender(socket, FRAME_BYTES, SLOTS)
        deadline_ns = monotonic_ns() + 10_000_000_000
        while not socket.exists():
            if monotonic_ns() > deadline_ns:
                raise ResourceError("shmsink made no socket")
            sleep_until(monotonic_ns() + 10_000_000)
        readers = start_readers("gst", "--target", str(socket))
        sleep_until(monotonic_ns() + 1_000_000_000)  # both are connected before the first frame
        send_for(seconds, rate_hz, lambda _: sender.send(source))
        seen = results_of(readers)
        sender.close()
    return seen


def run_queue(seconds: float, rate_hz: float | None, landing: bool = True) -> list[Seen]:
    """Put each frame on two queues, as bytes."""
    context = multiprocessing.get_context("spawn")
    results: Any = context.Queue()
    queues: list[Any] = [context.Queue(maxsize=4) for _ in range(READERS)]
    processes = [context.Process(target=read_queue, args=(queue, results)) for queue in queues]
    for process in processes:
        process.start()
    sleep_until(monotonic_ns() + 1_000_000_000)
    source, frame = source_frame(), bytearray(FRAME_BYTES)

    def send(_: int) -> None:
        if landing:
            frame[:] = source
        HEAD.pack_into(frame, 0, monotonic_ns())
        data = bytes(frame)  # the queue pickles it later, in a thread: it must own it
        for queue in queues:
            queue.put(data)

    send_for(seconds, rate_hz, send)
    for queue in queues:
        queue.put(None)
    seen = [Seen(**results.get(timeout=60)) for _ in processes]
    for process in processes:
        process.join(10)
    return seen


def slowest(seen: list[Seen]) -> float:
    """Return the rate of the slower reader: both must have the frames."""
    return min(one.rate_hz for one in seen)


def latest(seen: list[Seen]) -> float:
    """Return the p50 of the reader that had the frames later, us."""
    return max(one.p50_us for one in seen)


def beside(peer: Peer, ours: Three, theirs: Three) -> list[Row]:
    """Return the rows of one peer."""
    landed = ours[2] / theirs[2]
    if peer.landed_bar is None:
        text, holds = peer.why, None
    else:
        text, holds = f">= {peer.landed_bar:g} x", landed >= peer.landed_bar
    ratio = ours[1] / theirs[1]
    return [
        Row(f"{HAND_OVER}, frames/s", ours[1], theirs[1], peer.name, "frames/s",
            ratio, f">= {peer.bar:g} x", ratio >= peer.bar),
        Row(f"{HAND_OVER}, p50", ours[0], theirs[0], peer.name, "us", theirs[0] / ours[0], "shown", None),
        Row(f"{LANDED}, frames/s", ours[2], theirs[2], peer.name, "frames/s", landed, text, holds),
    ]  # fmt: skip


def not_measured(peer: Peer, ours: Three, error: ResourceError) -> list[Row]:
    """Return the rows of a peer that could not run: its bars are missed, and the row says why."""
    name = f"{peer.name} (not measured: {error})"
    landed_holds = None if peer.landed_bar is None else False
    landed_text = peer.why if peer.landed_bar is None else f">= {peer.landed_bar:g} x"
    return [
        Row(f"{HAND_OVER}, frames/s", ours[1], None, name, "frames/s", None, f">= {peer.bar:g} x", False),
        Row(f"{LANDED}, frames/s", ours[2], None, name, "frames/s", None, landed_text, landed_holds),
    ]


def against(peer: Peer, ours: Three, run: Callable[..., list[Seen]], seconds: float, rate_hz: float) -> list[Row]:
    """Run one peer three times, as ours was, and return its rows."""
    try:
        theirs = (
            latest(run(seconds, rate_hz)),
            slowest(run(seconds, None, landing=False)),
            slowest(run(seconds, None)),
        )
    except ResourceError as error:
        return not_measured(peer, ours, error)
    return beside(peer, ours, theirs)


def measure(seconds: float) -> list[Row]:
    """Run everything and return the rows."""
    landing_hz, landing_us = bare_landing(seconds)
    paced, free, landed = run_ring(seconds, RATE_HZ), run_ring(seconds, None, landing=False), run_ring(seconds, None)
    ours = (latest(paced), slowest(free), slowest(landed))
    missed = sum(one.skipped + one.late for one in (*paced, *free, *landed))
    rows = [
        Row("hand-over above the landing copy, p50", ours[0], landing_us, "landing copy", "us", ours[0], "<= 60 us",
            ours[0] <= 60),
        Row(f"{LANDED}, frames/s", ours[2], landing_hz, "bare landing copy", "frames/s",
            ours[2] / landing_hz, ">= 0.5 x", ours[2] >= 0.5 * landing_hz),
        Row("frames missed by the two readers", missed, None, "", "frames", None, "0", missed == 0),
    ]  # fmt: skip
    rows += against(QUEUE, ours, run_queue, seconds, 30.0)
    return rows + against(GST, ours, run_gst, seconds, RATE_HZ)


def main() -> int:
    """Run the benchmark, or one of its reader roles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write machine and rows there")
    parser.add_argument("--seconds", type=float, default=1.0, help="length of each of the ten runs")
    parser.add_argument("--role", choices=("ring", "gst"), help=argparse.SUPPRESS)
    parser.add_argument("--index", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--target", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role is not None:
        seen = read_ring(options.target, options.index) if options.role == "ring" else read_gst(options.target)
        print(json.dumps(asdict(seen)))
        return 0
    return 0 if report(measure(options.seconds), options.json) else BAR_MISSED


if __name__ == "__main__":
    sys.exit(main())
