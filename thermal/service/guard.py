"""The dead man's switch within the process: no tick in time, and the fan goes to full speed.

A read that hangs (a stuck I2C bus, a driver that waits) holds the loop but not this thread. systemd's watchdog, which
bites later, is for the rest: a stopped process, a machine that swaps.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

_LOG: Final = logging.getLogger("thermal")


class Guard:
    """``alive`` at every tick; ``full_speed`` is called once for each silence longer than ``after_s``."""

    def __init__(self, full_speed: Callable[[], str | None], after_s: float) -> None:
        self.bites = 0
        self._full_speed = full_speed
        self._after_s = after_s
        self._signs = 0
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="thermal-guard", daemon=True)
        self._thread.start()

    def alive(self) -> None:
        """A tick was done."""
        with self._news:
            self._signs += 1
            self._news.notify()

    def close(self) -> None:
        """End the thread."""
        with self._news:
            self._ended = True
            self._news.notify()
        self._thread.join(1.0)

    def _run(self) -> None:
        seen, bitten = 0, False
        while True:
            with self._news:
                heard = self._news.wait_for(lambda: self._ended or self._signs != seen, self._after_s)  # noqa: B023
                if self._ended:
                    return
                seen = self._signs
            if heard:
                bitten = False
            elif not bitten:
                bitten = True
                self.bites += 1
                refused = self._full_speed()
                _LOG.error("no tick for %.1f s: full speed%s", self._after_s, f" refused: {refused}" if refused else "")
