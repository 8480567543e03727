"""How the agent ends: captures close their rings, inferences and recorders work them off, the publisher its spool.

The clock and the serial line go with the last of the inferences: until then somebody asks them, and the publisher does
not.

Each role has its share of ``process.drain_s``; who overruns it is killed alone, so that a stuck camera does not cost
the publisher its time. What the publisher cannot send stays in the spool for the next start.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from agent.parent.children import ChildHandle
from agent.processes.spec import Role

_LOG: Final = logging.getLogger("agent")
_SHARES: Final = {
    Role.CAPTURE: 0.3,
    Role.INFERENCE: 0.7,
    Role.RECORDER: 0.9,
    Role.CLOCK: 0.9,
    Role.UART: 0.9,
    Role.PUBLISHER: 1.0,
}
_PUBLISHER_SENDS: Final = 0.9  # of the time; the rest is for its goodbye and its last report


class Drain:
    """One ending. ``exit_code`` becomes 1 when somebody had to be killed."""

    def __init__(
        self, children: Sequence[ChildHandle], reason: str, exit_code: int, now_ns: int, drain_s: float
    ) -> None:
        self.reason, self.exit_code = reason, exit_code
        self._children = children
        self._begin_ns, self._drain_ns = now_ns, drain_s * 1e9
        self._told: set[str] = set()
        self._killed: set[str] = set()

    def goes_on(self, now_ns: int) -> bool:
        """Tell and, where time is up, kill; False once nobody runs."""
        running = [child for child in self._children if child.running]
        for child in running:
            if now_ns > self._begin_ns + _SHARES[child.spec.role] * self._drain_ns:
                self._kill(child)
        roles = {child.spec.role for child in running}
        self._tell(Role.CAPTURE, {"type": "stop"})
        if Role.CAPTURE not in roles:
            self._tell(Role.INFERENCE, {"type": "stop"})
            self._tell(Role.RECORDER, {"type": "stop"})
        if not roles & {Role.CAPTURE, Role.INFERENCE}:
            self._tell(Role.CLOCK, {"type": "stop"})
            self._tell(Role.UART, {"type": "stop"})
            deadline_ns = self._begin_ns + int(_PUBLISHER_SENDS * self._drain_ns)
            self._tell(Role.PUBLISHER, {"type": "stop", "deadline_ns": deadline_ns, "reason": self.reason})
        return bool(running)

    def _tell(self, role: Role, message: dict[str, object]) -> None:
        for child in self._children:
            if child.spec.role is role and child.running and child.name not in self._told and child.tell(message):
                self._told.add(child.name)

    def _kill(self, child: ChildHandle) -> None:
        if child.name in self._killed:
            return
        self._killed.add(child.name)
        self.exit_code = self.exit_code or 1
        self.reason += f"; {child.name} did not end in time and was killed"
        _LOG.error("%s did not end in time: killed", child.name)
        child.kill()
