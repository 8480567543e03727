"""QEMU's machine protocol (QMP), synchronous, with timeouts and the events kept.

Our own hundred lines because the qemu.qmp library is asyncio only and its synchronous shim is GPL-2.0.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from hil.virtual.machine.link import JsonLink, LinkClosed
from touchline.errors import HardwareError
from touchline.timeline import monotonic_ns

_ANSWER_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Event:
    """Something QEMU reported by itself: ``RESET``, ``SHUTDOWN``, ``WATCHDOG``, ``GUEST_PANICKED``, ``RESUME``..."""

    name: str
    data: dict[str, Any]
    at_s: float  # host's clock when QEMU sent it, s since 1970


class Qmp:
    """A connection to a machine monitor. QEMU serves one at a time: a second one waits until the first closes."""

    def __init__(self, path: Path, *, timeout_s: float = 5.0, check: Callable[[], None] | None = None) -> None:
        self.events: list[Event] = []
        self._lock = threading.RLock()
        self._link = JsonLink(path, timeout_s=timeout_s, check=check)
        try:
            if self._link.receive(timeout_s) is None:
                raise HardwareError(f"{path} does not greet", hint="another program holds this node's monitor")
            self("qmp_capabilities")
        except HardwareError:
            self._link.close()
            raise

    def __call__(self, command: str, **arguments: Any) -> Any:
        """Run one command; names with hyphens go in as ``**{"max-bandwidth": 1}``. Raises HardwareError."""
        return self.execute(command, arguments)

    def execute(self, command: str, arguments: dict[str, Any] | None = None, *, timeout_s: float = _ANSWER_S) -> Any:
        """Run one command with a deadline of its own."""
        with self._lock:
            self._link.send({"execute": command, "arguments": arguments or {}})
            deadline_ns = monotonic_ns() + int(timeout_s * 1e9)
            while (answer := self._next((deadline_ns - monotonic_ns()) / 1e9)) is not None:
                if "return" in answer:
                    return answer["return"]
                if "error" in answer:
                    raise HardwareError(f"QEMU refused {command}: {answer['error'].get('desc', answer['error'])}")
        raise HardwareError(f"QEMU did not answer {command} within {timeout_s:g} s")

    def poll(self, timeout_s: float = 0.0) -> None:
        """Take in the events that have arrived, waiting up to ``timeout_s`` for the first."""
        with self._lock:
            while self._next(timeout_s) is not None:
                timeout_s = 0.0

    def quit(self) -> None:
        """Ask QEMU to end; it may hang up before it has answered."""
        try:
            self("quit")
        except LinkClosed:
            return

    def close(self) -> None:
        """Hang up; QEMU goes on."""
        self._link.close()

    def _next(self, timeout_s: float) -> dict[str, Any] | None:
        line = self._link.receive(max(timeout_s, 0.0))
        if line is None:
            return None
        message: dict[str, Any] = json.loads(line)
        if "event" in message:
            stamp = message.get("timestamp", {})
            at_s = stamp.get("seconds", 0) + stamp.get("microseconds", 0) / 1e6
            self.events.append(Event(message["event"], message.get("data", {}), at_s))
        return message
