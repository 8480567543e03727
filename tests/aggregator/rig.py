"""What the aggregator's tests share: a configuration, and a rack as a process beside a real broker."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import urllib.request
from pathlib import Path
from typing import Any

from touchline.config import RackConfig
from touchline.timeline import monotonic_ns, sleep_until


def rack_config(folder: Path, **sections: Any) -> RackConfig:
    """A configuration whose certificates are never read."""
    tables: dict[str, Any] = {
        "mqtt": {"host": "localhost", "ca_file": "ca.pem", "cert_file": "cert.pem", "key_file": "key.pem"},
        "store": {"path": str(folder / "match.sqlite"), "synchronous": "normal"},
        "web": {"port": 0},
    }
    for name, table in sections.items():
        tables[name] = {**tables.get(name, {}), **table} if isinstance(table, dict) else table
    return RackConfig.model_validate(tables)


def wait_for(condition: Any, what: str, seconds: float = 60.0) -> Any:
    """Return the first true value of ``condition()``; fails after a deadline."""
    deadline_ns = monotonic_ns() + int(seconds * 1e9)
    while monotonic_ns() < deadline_ns:
        if value := condition():
            return value
        sleep_until(monotonic_ns() + 20_000_000)
    raise AssertionError(f"{what}: not within {seconds:g} s")


class RackProcess:
    """``touchline aggregator run`` as its own process."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.url = ""
        self.lines: list[str] = []
        self.process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self, wait: bool = True) -> None:
        """Start it; returns when the page's address was printed."""
        command = [sys.executable, "-m", "touchline.cli", "aggregator", "run", "--config", str(self.config)]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        if wait:
            self.url = wait_for(self._address, f"page of {self.config}: {self.lines}")

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.lines.append(line.rstrip())

    def _address(self) -> str:
        pages = [line for line in self.lines if line.startswith("Page: ")]
        return pages[-1].removeprefix("Page: ") if pages else ""

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        self.end(signal.SIGKILL)

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; returns its exit code."""
        assert self.process is not None and self._reader is not None
        self.process.send_signal(how)
        code = self.process.wait(60)
        self._reader.join(60)  # else its last words would be taken for those of the next one
        self.lines.clear()
        return code

    def get(self, path: str) -> dict[str, Any]:
        """A JSON answer of the page's server; empty while it does not answer."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=30) as answer:
                value = json.load(answer)
        except (OSError, http.client.HTTPException):
            return {}
        assert isinstance(value, dict)
        return value
