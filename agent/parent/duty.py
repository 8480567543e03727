"""The parent's part in failover and recording: vouches for the clock, tells recorders the role, bears their loss.

The role comes from the publisher, which has it from the failover service; a node without failover is always active. A
publisher that has ended is no reason to change it: the next one says what holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from agent.parent.children import ChildHandle
from agent.parent.clock import ClockView
from agent.processes.spec import Role
from failover.core.types import Role as PairRole
from touchline.config import NodeConfig
from touchline.timeline import ClockState


class NodeDuty:
    """One node's. ``lost``: why a recorder is given up, by its name."""

    def __init__(self, config: NodeConfig) -> None:
        self._on_unlocked = config.clock.on_unlocked
        self._gated = config.failover is not None
        alone = (PairRole.ACTIVE.value, config.node.epoch)
        self.role: tuple[str, int] = (PairRole.STANDBY.value, 0) if self._gated else alone
        self.lost: dict[str, str] = {}
        self._clock_ok: bool | None = None

    def fitness(self, clock: ClockView) -> dict[str, Any]:
        """What decides, besides the frames, whether this node can be the active one.

        ``hot`` waits for thermal/: nothing on the node knows yet that it will throttle.
        """
        self._clock_ok = self._is_good(clock)
        return {"clock_ok": self._clock_ok, "hot": False, "trouble": "" if self._clock_ok else clock.trouble}

    def must_tell(self, clock: ClockView) -> bool:
        """Whether the clock has become good or bad since :meth:`fitness` said so."""
        return self._gated and self._clock_ok is not self._is_good(clock)

    def _is_good(self, clock: ClockView) -> bool:
        return clock.stamp.state is not ClockState.UNLOCKED or self._on_unlocked == "flag"

    def tell(self, children: Sequence[ChildHandle]) -> None:
        """Tell each recorder the role and its epoch, once a change and once a life."""
        for child in children:
            if child.spec.role is Role.PUBLISHER and child.duty is not None:
                self.role = child.duty
        role, epoch = self.role
        for child in children:
            if child.spec.role is Role.RECORDER and child.running and child.told_duty != self.role:
                told = child.tell({"type": "role", "role": role, "epoch": epoch})
                child.told_duty = self.role if told else None

    def troubles(self, children: Sequence[ChildHandle], given_up: Collection[int]) -> list[str]:
        """Why the node is degraded: recorders that do not record, of cameras that deliver."""
        over = {child.spec.camera for child in children if child.spec.role is Role.CAPTURE and child.finished}
        over |= set(given_up)
        ended = [
            f"{child.name} ended without being told"
            for child in children
            if child.spec.role is Role.RECORDER and child.finished and child.spec.camera not in over
        ]
        return [*self.lost.values(), *ended]
