"""The aggregator put together: store, decisions, receiver and page; started, watched and stopped in this order."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from typing import Any, Final

from aggregator.export import audit
from aggregator.ingest import Ingest
from aggregator.rack import Rack
from aggregator.receive import DEFAULT_CLIENT_ID, Receiver
from aggregator.store import Store
from aggregator.web.server import PageServer
from touchline.config import RackConfig
from touchline.mqtt import settings_of
from touchline.notify import notify, watchdog_interval_s
from touchline.timeline import Clock, SystemClock, monotonic_ns

_WATCH_S: Final = 0.1
_STALLED_NS: Final = 5_000_000_000  # an ingest loop that did not go round for so long gets no watchdog


class RackApp:
    """One aggregator. ``say`` takes each event of the rack as one line of text."""

    def __init__(self, config: RackConfig, say: Callable[[str], None], clock: Clock | None = None) -> None:
        self._config = config
        self._print = say
        self._clock: Clock = clock or SystemClock()
        self.rack = Rack(config)
        self._store = Store(config.store.path, config.store.synchronous)
        self._ingest = Ingest(config, self.rack, self._store, self._clock)
        self._receiver = Receiver(
            settings_of(config.mqtt, DEFAULT_CLIENT_ID), self._ingest.queue, self.rack.link, self._clock, self._say
        )
        self._page = PageServer(config.web, self._live, self.status, self.stats, self._audit)
        self._stop = asyncio.Event()

    def _say(self, severity: str, code: str, text: str) -> None:
        self.rack.say(severity, code, text, self._clock.now().ptp_ns)
        self._print(f"{severity}: {text}")

    def _live(self) -> dict[str, Any]:
        return self.rack.live(monotonic_ns(), self._clock.now().ptp_ns)

    def status(self) -> dict[str, Any]:
        """The status document."""
        return self.rack.status(monotonic_ns(), self._clock.now().ptp_ns)

    def stats(self) -> dict[str, Any]:
        """The totals."""
        return self.rack.stats(monotonic_ns())

    def _audit(self) -> dict[str, Any]:
        return audit(self._config.store.path).as_dict()

    async def run(self, ready: Callable[[str], None]) -> None:
        """Serve until SIGTERM or SIGINT; ``ready`` gets the page's address.

        Raises ResourceError (port, disk), InputError (a foreign store), ConfigError (certificates).
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._store.open()
        try:
            self.rack.restore(self._store.load(), monotonic_ns())
            url = await self._page.start()
            self._ingest.start()
            self._receiver.start()
            ready(url)
            notify("READY=1", f"STATUS=page at {url}")
            await self._watch()
        finally:
            notify("STOPPING=1")
            await loop.run_in_executor(None, self._shut_down)
            await self._page.stop()
            self._store.close()

    async def _watch(self) -> None:
        """Feed the watchdog while records can flow; end when asked, or when the ingest thread ended."""
        interval_s = watchdog_interval_s()
        fed_ns = 0
        while not self._stop.is_set():
            if self._ingest.failed is not None:
                raise self._ingest.failed
            now_ns = monotonic_ns()
            moving = now_ns - self._ingest.turn_ns < _STALLED_NS
            if interval_s is not None and moving and now_ns - fed_ns >= interval_s * 1e9:
                notify("WATCHDOG=1")
                fed_ns = now_ns
            try:
                await asyncio.wait_for(self._stop.wait(), _WATCH_S)
            except asyncio.TimeoutError:
                continue

    def _shut_down(self) -> None:
        """What was taken is written and acknowledged before the link goes; what was not stays with the broker."""
        self._receiver.quiesce()
        if self._ingest.alive() and not self._ingest.stop():
            self._print("error: the last messages could not be written in time; the broker keeps them")
        if self._ingest.failed is not None:
            self._print(f"error: the last messages were not written ({self._ingest.failed}); the broker keeps them")
        self._receiver.stop()


def run_rack(config: RackConfig, say: Callable[[str], None], ready: Callable[[str], None]) -> None:
    """Run an aggregator in this thread until it is told to stop."""

    async def main() -> None:
        await RackApp(config, say).run(ready)

    asyncio.run(main())
