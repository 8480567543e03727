"""One life of ffmpeg: frames into its standard input without ever waiting long, its end judged by its exit code."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import select
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Final

from agent.record.ebml import frame_head
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns, sleep_until

PIPE_BYTES: Final = 1 << 20  # Linux's limit for an unprivileged pipe
COPY_AFTER_NS: Final = 20_000_000  # a slot of the ring is not held longer than this
_LOOK_NS: Final = 200_000
_LAST_LINES: Final = 20
_LOG: Final = logging.getLogger(__name__)


class EncoderGone(Exception):
    """ffmpeg ended or closed its input; its exit code says why."""


class Encoder:
    """ffmpeg as a child. One thread feeds it (:meth:`offer`, :meth:`pump`), another may read :attr:`output`.

    It dies with us, also when it is stopped and we are killed: ``setpriv --pdeathsig`` where the machine has it.
    Raises ResourceError when the program cannot be started.
    """

    def __init__(self, argv: Sequence[str], head: bytes) -> None:
        setpriv = shutil.which("setpriv")
        words = [setpriv, "--pdeathsig", "KILL", *argv] if setpriv else list(argv)
        if not os.access(shutil.which(argv[0]) or argv[0], os.X_OK):
            raise ResourceError(f"{argv[0]} cannot be executed", hint="apt install ffmpeg, or set record.ffmpeg")
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a terminal's Ctrl-C reaches us; we then end it in order
            )
        except OSError as error:
            raise ResourceError(f"{argv[0]} cannot be started: {error.strerror}", hint="apt install ffmpeg") from error
        process = self._process
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        self.pid = process.pid
        self.output: Final = process.stdout.fileno()
        self._input = process.stdin.fileno()
        os.set_blocking(self._input, False)
        for fd in (self._input, self.output):
            with suppress(OSError):  # a smaller pipe is slower, not wrong
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        self._rest: deque[memoryview] = deque([memoryview(head)])
        self._pixels_valid: Callable[[], bool] | None = None
        self._offered_ns = 0
        self.torn = False
        self._said: deque[str] = deque(maxlen=_LAST_LINES)
        self._listener = threading.Thread(target=self._listen, args=(process.stderr,), daemon=True)
        self._listener.start()

    # --- frames in ------------------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a frame is still on its way into the pipe."""
        return bool(self._rest)

    def busy_ns(self) -> int:
        """How long the frame has been on its way, ns; 0 when none is."""
        return monotonic_ns() - self._offered_ns if self._rest else 0

    def offer(self, media_us: int, pixels: memoryview, valid: Callable[[], bool]) -> None:
        """Begin to write a frame; :meth:`pump` goes on. ``valid`` says whether the pixels are still whole."""
        if self._pixels_valid is not None:
            raise RuntimeError("offer before the last frame was in the pipe")
        self._rest += [memoryview(frame_head(media_us, pixels.nbytes)), pixels.cast("B")]
        self._offered_ns, self._pixels_valid = monotonic_ns(), valid

    def pump(self, timeout_s: float) -> bool:
        """Write what the pipe takes, waiting up to ``timeout_s`` for room; True when the frame is in it.

        A pipe that stays full has the rest of the frame copied out of the ring, so that the slot is free. When the
        pixels changed before all of them were out, :attr:`torn` is set: this run of ffmpeg has seen a bad picture.

        Raises EncoderGone.
        """
        deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
        while self._rest:
            self._copy_if_late()
            if self._write() or not self._rest:
                continue
            wait_ns = min(deadline_ns - monotonic_ns(), COPY_AFTER_NS)
            if wait_ns <= 0:
                return False
            select.select([], [self._input], [], wait_ns / 1e9)
        self._let_go()
        return True

    def _write(self) -> int:
        try:
            written = os.writev(self._input, list(self._rest)[:8])
        except BlockingIOError:
            return 0
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise EncoderGone from error
            raise
        left = written
        while self._rest and left >= len(self._rest[0]):
            left -= len(self._rest.popleft())
        if self._rest and left:
            self._rest[0] = self._rest[0][left:]
        return written

    def _copy_if_late(self) -> None:
        if self._pixels_valid is not None and monotonic_ns() - self._offered_ns > COPY_AFTER_NS:
            self._rest = deque(memoryview(bytes(part)) for part in self._rest)
            self._let_go()

    def _let_go(self) -> None:
        valid, self._pixels_valid = self._pixels_valid, None
        if valid is not None and not valid():
            self.torn = True

    # --- stop and go ------------------------------------------------------------------------------------------------

    def stopped(self) -> bool:
        """Whether the kernel has it stopped by a signal (state T of /proc/PID/stat)."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii", errors="replace")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] == "T"

    def stop(self, timeout_s: float = 1.0) -> float:
        """SIGSTOP; returns after how many ms it stood. Raises EncoderGone (it ended), ResourceError (it runs on)."""
        return self._signal(signal.SIGSTOP, True, timeout_s)

    def go_on(self, timeout_s: float = 1.0) -> float:
        """SIGCONT; returns after how many ms it ran. Raises as :meth:`stop`."""
        return self._signal(signal.SIGCONT, False, timeout_s)

    def _signal(self, number: signal.Signals, stopped: bool, timeout_s: float) -> float:
        begin_ns = monotonic_ns()
        if self._process.poll() is not None:
            raise EncoderGone
        self._process.send_signal(number)
        while self.stopped() is not stopped:
            if self._process.poll() is not None:
                raise EncoderGone
            if monotonic_ns() - begin_ns > timeout_s * 1e9:
                raise ResourceError(f"ffmpeg (process {self.pid}) did not obey {number.name} within {timeout_s:g} s")
            sleep_until(monotonic_ns() + _LOOK_NS)
        return (monotonic_ns() - begin_ns) / 1e6

    # --- the end ----------------------------------------------------------------------------------------------------

    def ended(self) -> int | None:
        """The exit code (negative: the signal that killed it); None while it runs."""
        return self._process.poll()

    def close_input(self) -> None:
        """No frame follows: ffmpeg writes what it has and ends. A frame not wholly in the pipe is lost."""
        self._rest.clear()
        self._let_go()
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()

    def wait(self, timeout_s: float) -> int:
        """The exit code, after SIGKILL where ``timeout_s`` was not enough."""
        with suppress(OSError):
            self._process.send_signal(signal.SIGCONT)  # a stopped process cannot end in order
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            _LOG.error("ffmpeg (process %d) did not end within %g s: killed", self.pid, timeout_s)
            self._process.kill()
            return self._process.wait()

    def kill(self) -> int:
        """End it by force, by pid; its exit code."""
        self._process.kill()
        return self._process.wait()

    def last_words(self) -> str:
        """What it complained of last."""
        self._listener.join(0.2)
        return "; ".join(list(self._said)[-3:])

    def close(self) -> None:
        """Give the pipes back; the process must have ended and nobody read :attr:`output` any more."""
        if self._process.poll() is None:
            self.kill()
        self._listener.join(1.0)
        for stream in (self._process.stdin, self._process.stdout):  # the listener closes what it reads
            with suppress(OSError):
                if stream is not None:
                    stream.close()

    def _listen(self, stream: IO[bytes]) -> None:
        with stream:
            for line in iter(lambda: stream.readline(500), b""):
                if text := line.decode(errors="replace").strip():
                    self._said.append(text)


def death_of(code: int) -> str:
    """An exit code in words."""
    return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
