"""What protection saw and did: a JSON line each, on the disk (fdatasync) before anything is done about it.

Two files of at most ``MAX_BYTES``. A thread writes them, for a disk may hang: :meth:`EventLog.commit` waits for at most
so long and then says that the line is not there yet; the thread still writes it when the disk is back.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from queue import Full, Queue
from typing import Any, Final

from thermal.protect.latch import sync_folder

FILE: Final = "protect.jsonl"
ROTATED: Final = "protect.1.jsonl"
MAX_BYTES: Final = 1 << 20  # of each of the two
MAX_LINE_BYTES: Final = 4096
MAX_WAITING: Final = 256
CLOSE_S: Final = 2.0
_LOG: Final = logging.getLogger("thermal.protect")

Event = Mapping[str, Any]
Job = Callable[[], None]


@dataclass(slots=True)
class _Order:
    """What the thread is to do, in order; ``trouble``: how it failed."""

    jobs: tuple[Job, ...]
    done: threading.Event = field(default_factory=threading.Event)
    trouble: list[str] = field(default_factory=list)


class EventLog:
    """See the module. ``lost``: lines that were not written; ``thread``: lives until :meth:`close`."""

    def __init__(self, folder: Path) -> None:
        self.lost = 0
        self._folder = folder
        self._failing = False
        self._queue: Queue[_Order | None] = Queue(MAX_WAITING)
        self.thread = threading.Thread(target=self._run, name="protect-events", daemon=True)
        self.thread.start()

    def put(self, event: Event) -> None:
        """Write a line some time soon. Never waits, never raises."""
        self._submit(_Order((lambda: append(self._folder, event),)))

    def commit(self, event: Event, wait_s: float, before: Job | None = None) -> str | None:
        """Do ``before`` and then write the line, both on the disk. None when it is done, else what went wrong.

        A failure of ``before`` does not keep the line from being written.
        """
        line: Job = lambda: append(self._folder, event)  # noqa: E731
        order = _Order((line,) if before is None else (before, line))
        if not self._submit(order):
            return "too many lines wait for the disk"
        if not order.done.wait(wait_s):
            return f"the disk did not take it within {wait_s:g} s"
        return "; ".join(order.trouble) or None

    def close(self, wait_s: float = CLOSE_S) -> None:
        """Write what waits, for at most ``wait_s``."""
        try:
            self._queue.put(None, timeout=wait_s)
        except Full:
            return
        self.thread.join(wait_s)

    def _submit(self, order: _Order) -> bool:
        try:
            self._queue.put_nowait(order)
        except Full:
            self._failed("too many lines wait for the disk")
            return False
        return True

    def _run(self) -> None:
        while (order := self._queue.get()) is not None:
            for job in order.jobs:
                try:
                    job()
                except (OSError, ValueError, TypeError) as error:
                    order.trouble.append(str(error))
                    self._failed(str(error))
                else:
                    self._failing = False
            order.done.set()

    def _failed(self, why: str) -> None:
        was, self._failing = self._failing, True
        self.lost += 1
        if not was:
            _LOG.error("events in %s: %s; protection goes on without them", self._folder, why)


def encode(event: Event) -> bytes:
    """One line. Raises ValueError or TypeError for what is no line."""
    raw = json.dumps(dict(event), allow_nan=False).encode() + b"\n"
    if len(raw) > MAX_LINE_BYTES:
        raise ValueError(f"a line of {len(raw)} bytes, {MAX_LINE_BYTES} are allowed")
    return raw


def append(folder: Path, event: Event) -> None:
    """Append a line and wait until the disk has it, and the name of a new file too. Raises OSError."""
    raw = encode(event)
    path = folder / FILE
    if not folder.is_dir():
        folder.mkdir(parents=True)
        sync_folder(folder.parent)
    if path.exists() and path.stat().st_size + len(raw) > MAX_BYTES:
        path.replace(folder / ROTATED)
    new = not path.exists()
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        if size and os.pread(descriptor, 1, size - 1) != b"\n":
            raw = b"\n" + raw  # the line before was cut short by a power cut or a full disk
        if os.write(descriptor, raw) < len(raw):
            raise OSError(28, "the line was not written whole", str(path))
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if new:
        sync_folder(folder)


def read_events(folder: Path, last: int | None = None) -> list[dict[str, Any]]:
    """The newest ``last`` events, oldest first; damaged lines are left out. No file is no event."""
    found: list[dict[str, Any]] = []
    for name in (ROTATED, FILE):
        try:
            with (folder / name).open("rb") as file:
                lines = file.read(2 * MAX_BYTES).split(b"\n")
        except FileNotFoundError:
            continue
        found += [event for event in map(_event, lines) if event is not None]
    return found if last is None else found[max(0, len(found) - last) :]


def _event(raw: bytes) -> dict[str, Any] | None:
    if not raw.strip() or len(raw) > MAX_LINE_BYTES:
        return None
    try:
        event = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) else None
