"""What may leave now, and under which epoch: the failover service's word, and time. Pure; ns of the monotonic clock.

Without failover the gate is always open. With it, it is shut until the service opens it, and shuts by itself when the
service's word runs out. While it is shut, only what this node has to deliver in any case may leave, and only as long as
a living service says that the roles are certain.
"""

from __future__ import annotations

from enum import Enum
from typing import Final

from failover.core.types import Gate, Role

LAPSE_NS: Final = 500_000_000  # a gate that ran out for so long is that of a standby; before it may only be late
SETTLED_NS: Final = 500_000_000  # a word that the roles are certain is good for so long


class Leave(Enum):
    """What may leave."""

    NOTHING = "nothing"
    OWN = "own"  # what was spooled while the gate was open, or by an earlier life
    ALL = "all"


class Gatekeeper:
    """Holds the present gate. ``epoch``: of a node without failover (``gated`` False)."""

    def __init__(self, epoch: int, *, gated: bool) -> None:
        self.gated = gated
        self.role = Role.STANDBY if gated else Role.ACTIVE
        self.epoch = 0 if gated else epoch
        self._gate: Gate | None = None
        self._heard_ns = 0
        self._shut_ns = 0  # since when the word is "shut"
        self._last_open_epoch = self.epoch

    @property
    def gate(self) -> Gate | None:
        """The service's last word."""
        return self._gate

    def hear(self, gate: Gate, now_ns: int) -> None:
        """Take the service's word."""
        if not gate.open and (self._gate is None or self._gate.open):
            self._shut_ns = now_ns
        self._gate, self._heard_ns = gate, now_ns
        self.role, self.epoch = gate.role, gate.epoch
        if gate.open:
            self._last_open_epoch = gate.epoch

    def may_leave(self, now_ns: int) -> Leave:
        """What may leave at this moment."""
        if not self.gated:
            return Leave.ALL
        gate = self._gate
        if gate is None:
            return Leave.NOTHING
        if gate.open:
            return Leave.ALL if now_ns < gate.until_ns else Leave.NOTHING
        settled = gate.role is Role.STANDBY and gate.settled and now_ns - self._heard_ns < SETTLED_NS
        return Leave.OWN if settled else Leave.NOTHING

    def is_open(self, now_ns: int) -> bool:
        """Whether everything may leave."""
        return self.may_leave(now_ns) is Leave.ALL

    def is_standby(self, now_ns: int) -> bool:
        """Whether what is recorded now is the twin's to deliver: told so, or without a word for :data:`LAPSE_NS`."""
        if not self.gated or self.is_open(now_ns):
            return False
        gate = self._gate
        if gate is None or gate.role is Role.STANDBY:
            return True
        return now_ns - (gate.until_ns if gate.open else self._shut_ns) >= LAPSE_NS

    def epoch_of(self, epoch: int, now_ns: int) -> int:
        """The epoch under which a batch that was spooled under ``epoch`` leaves now.

        An open gate's for everything; a shut one leaves it its own, which is the last one that was open for what a
        standby spooled (under 0).
        """
        if not self.gated:
            return epoch
        return self.epoch if self.is_open(now_ns) else epoch or self._last_open_epoch
