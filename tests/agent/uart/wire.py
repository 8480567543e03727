"""A pseudo-terminal as the wire: a thread reads its far end at the line's rate, since a PTY itself paces nothing."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
from pathlib import Path
from types import TracebackType

from agent.uart.line import Line
from agent.uart.scan import Found, Scanner
from touchline.timeline import monotonic_ns, sleep_until

BYTES_PER_S = 100_000  # 1 Mbaud, 8N1
_STEP_NS = 1_000_000


class FarEnd:
    """The other end of a serial line. ``paused``: it takes nothing, the wire fills up."""

    def __init__(self) -> None:
        self._master, slave = pty.openpty()
        tty.setraw(slave)
        self.path = Path(os.ttyname(slave))
        os.close(slave)
        self.data = bytearray()
        self.paused = threading.Event()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, name="pacer")

    def __enter__(self) -> FarEnd:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Unplug."""
        if not self._over.is_set():
            self._over.set()
            self._thread.join()
            os.close(self._master)

    def _read(self) -> None:
        """As many bytes as the wire carries in the time that passed, and no more."""
        allowed, at_ns = 0.0, monotonic_ns()
        while not self._over.is_set():
            sleep_until(monotonic_ns() + _STEP_NS)
            now_ns = monotonic_ns()
            allowed, at_ns = min(4096.0, allowed + (now_ns - at_ns) * BYTES_PER_S / 1e9), now_ns
            if self.paused.is_set() or allowed < 1 or not select.select([self._master], [], [], 0)[0]:
                continue
            try:
                chunk = os.read(self._master, int(allowed))
            except OSError:  # nobody has the near end open
                continue
            allowed -= len(chunk)
            self.data += chunk

    def found(self) -> list[Found]:
        """What has arrived so far."""
        scanner = Scanner()
        return [*scanner.feed(bytes(self.data)), *scanner.end()]

    def lines(self) -> list[Line]:
        """Whole lines that have arrived so far."""
        return [one for one in self.found() if isinstance(one, Line)]

    def await_lines(self, count: int, timeout_s: float = 60.0) -> list[Line]:
        """Wait for so many, with a deadline."""
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while len(found := self.lines()) < count:
            assert monotonic_ns() < deadline_ns, f"{len(found)} of {count} lines; end: {bytes(self.data[-300:])!r}"
            sleep_until(monotonic_ns() + 10 * _STEP_NS)
        return found
