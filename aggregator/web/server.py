"""The page and its data: aiohttp, read only, nothing loaded from elsewhere.

GET / the page; /ws the live picture (``push_hz``) and the status (2 Hz); /api/status, /api/stats, /metrics, /healthz.
"""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlsplit

from aiohttp import WSMsgType, web

from aggregator.web.metrics import exposition
from touchline.config.rack import WebSection
from touchline.errors import ResourceError
from touchline.timeline import TAI_MINUS_UTC_S

_STATIC: Final = {
    "/": ("index.html", "text/html"),
    "/static/app.js": ("app.js", "text/javascript"),
    "/static/pitch.js": ("pitch.js", "text/javascript"),
    "/static/panel.js": ("panel.js", "text/javascript"),
    "/static/power.js": ("power.js", "text/javascript"),
    "/static/style.css": ("style.css", "text/css"),
    "/static/icon.svg": ("icon.svg", "image/svg+xml"),
}
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
_STATUS_S: Final = 0.5
_MAX_CLIENTS: Final = 64

Snapshot = Callable[[], dict[str, Any]]


class PageServer:
    """Serves snapshots that the given functions return; knows nothing of where they come from."""

    def __init__(self, config: WebSection, live: Snapshot, status: Snapshot, stats: Snapshot, audit: Snapshot) -> None:
        self._config = config
        self._live, self._status, self._stats, self._audit = live, status, stats, audit
        self._clients: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.url = ""

    async def start(self) -> str:
        """Bind and serve; returns the page's address. ResourceError when the port is taken or not allowed."""
        app = web.Application()
        app.router.add_get("/ws", self._socket)
        app.router.add_get("/api/status", self._json(self._status))
        app.router.add_get("/api/stats", self._get_stats)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/healthz", self._health)
        for path in _STATIC:
            app.router.add_get(path, self._static)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._config.bind, self._config.port)
        try:
            await site.start()
        except OSError as error:
            await self._runner.cleanup()
            raise _cannot_bind(error, self._config) from error
        port = self._runner.addresses[0][1]
        host = f"[{self._config.bind}]" if ":" in self._config.bind else self._config.bind
        self.url = f"http://{host}:{port}/"
        return self.url

    async def stop(self) -> None:
        """Tell the pages and close."""
        for client in list(self._clients):
            await client.close(code=1001, message=b"the rack stops")
        if self._runner is not None:
            await self._runner.cleanup()

    @staticmethod
    def _json(snapshot: Snapshot) -> Callable[[web.Request], Any]:
        async def handler(request: web.Request) -> web.Response:
            return web.json_response(snapshot(), headers=_HEADERS)

        return handler

    async def _get_stats(self, request: web.Request) -> web.Response:
        """Totals; with ``?audit=1`` the store itself is searched for duplicates (slow on a long match)."""
        stats = self._stats()
        if request.query.get("audit") == "1":
            stats["audit"] = await asyncio.get_running_loop().run_in_executor(None, self._audit)
        return web.json_response(stats, headers=_HEADERS)

    async def _metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=exposition(self._status), content_type="text/plain", charset="utf-8")

    async def _health(self, request: web.Request) -> web.Response:
        status = self._status()
        good = status["broker"]["connected"] and not status["store_fault"]
        text = "ok" if good else status["store_fault"] or f"broker: {status['broker']['text']}"
        return web.Response(text=text + "\n", status=200 if good else 503)

    async def _static(self, request: web.Request) -> web.Response:
        name, kind = _STATIC[request.path]
        body = files("aggregator.web").joinpath("static", name).read_bytes()
        return web.Response(body=body, content_type=kind, charset="utf-8", headers=_HEADERS)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not _same_origin(request):
            raise web.HTTPForbidden(text="another site's page may not read this one")
        if len(self._clients) >= _MAX_CLIENTS:
            raise web.HTTPServiceUnavailable(text=f"{_MAX_CLIENTS} pages are open")
        socket = web.WebSocketResponse(heartbeat=10.0, max_msg_size=1024)
        await socket.prepare(request)
        self._clients.add(socket)
        pusher = asyncio.ensure_future(self._push(socket))
        try:
            async for message in socket:
                if message.type is WSMsgType.ERROR:
                    break
        finally:
            self._clients.discard(socket)
            pusher.cancel()
        return socket

    async def _push(self, socket: web.WebSocketResponse) -> None:
        """Send to one page; a slow page gets fewer pictures, never old ones."""
        config = self._config
        loop = asyncio.get_running_loop()
        hello = {
            "type": "hello",
            "title": config.title,
            "length_m": config.pitch_length_m,
            "width_m": config.pitch_width_m,
            "stale_s": config.stale_s,
            "tai_minus_utc_s": TAI_MINUS_UTC_S,
        }
        try:
            await socket.send_str(_compact(hello))
            status_due = loop.time()
            while not socket.closed:
                if loop.time() >= status_due:
                    await socket.send_str(_compact(self._status()))
                    status_due = loop.time() + _STATUS_S
                await socket.send_str(_compact(self._live()))
                await asyncio.sleep(1.0 / config.push_hz)
        except (ConnectionError, RuntimeError):  # the page went away while we were sending
            return


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))


def _same_origin(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    return origin is None or urlsplit(origin).netloc == request.host


def _cannot_bind(error: OSError, config: WebSection) -> ResourceError:
    where = f"{config.bind}:{config.port}"
    if error.errno == errno.EADDRINUSE:
        return ResourceError(
            f"port {config.port} on {config.bind} is in use", hint="set another web.port, or 0 for any"
        )
    if error.errno == errno.EACCES:
        return ResourceError(f"not allowed to listen on {where}", hint="set web.port above 1023")
    return ResourceError(f"cannot listen on {where}: {error.strerror}", hint="correct web.bind")
