"""The other processes of the ring's system tests: ``python -m tests.agent.ring.child ROLE FDS ...``."""

from __future__ import annotations

import ctypes
import json
import resource
import sys
import time

import numpy as np

from agent.ring import Ring, RingFds, RingReader, RingSpec, RingWriter, WriterGone
from touchline.errors import ResourceError
from touchline.timeline import ClockState, Stamp

CAP_IPC_LOCK = 14  # linux/capability.h


def say(**what: object) -> None:
    """One JSON line to the test."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def write_frames(fds: str, rate_hz: float, count: int) -> None:
    """Write frames whose bytes all equal their number's low byte; count 0 = until killed; rate 0 = no pause."""
    ring = Ring.attach(RingFds.from_text(fds))
    writer = RingWriter(ring)
    say(started=writer.committed)
    written = 0
    while count == 0 or written < count:
        number = writer.committed
        np.frombuffer(writer.acquire(), np.uint8)[:] = number % 251
        writer.commit(number, Stamp(number, 1, 0, ClockState.UNLOCKED))
        written += 1
        if rate_hz:
            time.sleep(1 / rate_hz)
    writer.close()


def write_half(fds: str) -> None:
    """Commit one frame, then stay in the middle of the next."""
    ring = Ring.attach(RingFds.from_text(fds))
    writer = RingWriter(ring)
    writer.acquire()[:] = bytes([0]) * ring.spec.slot_bytes
    writer.commit(0, Stamp(0, 1, 0, ClockState.UNLOCKED))
    writer.acquire()[:100] = b"\xff" * 100
    say(half=True)
    time.sleep(600)


def read_frames(fds: str, index: int, busy_s: float) -> None:
    """Read to the end, looking at every byte, resting ``busy_s`` with each frame; say what was seen."""
    ring = Ring.attach(RingFds.from_text(fds))
    reader = RingReader(ring, index)
    say(ready=True)
    good = torn_unseen = 0
    seen = []
    try:
        while True:
            frame = reader.next(60.0)
            if frame is None:
                break
            if busy_s:
                time.sleep(busy_s)
            pixels = frame.image((ring.spec.slot_bytes,))
            whole = bool((pixels == frame.index % 251).all()) and frame.sequence == frame.index
            if frame.still_valid():
                good += whole
                torn_unseen += not whole
            seen.append(frame.index)
    except WriterGone as gone:
        ledger = reader.ledger()
        say(
            handed=ledger.handed, skipped=ledger.skipped, late=ledger.late, good=good, torn_unseen=torn_unseen,
            rising=seen == sorted(set(seen)), orderly=gone.orderly,
        )  # fmt: skip


def hold_frame(fds: str, index: int) -> None:
    """Take one frame and never give it back."""
    reader = RingReader(Ring.attach(RingFds.from_text(fds)), index)
    frame = reader.next(60.0)
    say(holds=frame.index if frame else None)
    time.sleep(600)


def read_only(fds: str) -> None:
    """Write where a reader must not: the kernel ends this process."""
    reader = RingReader(Ring.attach(RingFds.from_text(fds)), 0)
    frame = reader.next(60.0)
    if frame is not None:
        address = frame.image((8,)).__array_interface__["data"][0]
        say(tries=True)
        ctypes.memset(address, 0xFF, 8)
    say(survived=True)


def drop_ipc_lock() -> None:
    """Give up the capability that lifts the lock limit: capget(2), clear the bit, capset(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x2008_0522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable; then the upper 32 of each
    if libc.capget(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capget")
    for part in range(3):
        sets[part] &= ~(1 << CAP_IPC_LOCK)
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def lock_limited(policy: str) -> None:
    """Create a ring of 8 MB under a lock limit of 1 MiB and without CAP_IPC_LOCK."""
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (2**20, 2**20))
    drop_ipc_lock()
    try:
        ring = Ring.create(RingSpec(8, 2**20), lock=policy)  # type: ignore[arg-type]
    except ResourceError as error:
        say(message=error.message, hint=error.hint, code=error.exit_code)
        return
    say(locked=ring.locked, notes=ring.notes)


def main() -> None:
    role, *rest = sys.argv[1:]
    if role == "write":
        write_frames(rest[0], float(rest[1]), int(rest[2]))
    elif role == "write-half":
        write_half(rest[0])
    elif role == "read":
        read_frames(rest[0], int(rest[1]), float(rest[2]))
    elif role == "hold":
        hold_frame(rest[0], int(rest[1]))
    elif role == "read-only":
        read_only(rest[0])
    elif role == "lock":
        lock_limited(rest[0])


if __name__ == "__main__":
    main()
