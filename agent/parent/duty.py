"""The parent's part in failover, recording and serial line: vouches for the clock, tells the role, bears losses.

The role comes from the publisher, which has it from the failover service; a node without failover is always active. A
publisher that has ended is no reason to change it: the next one says what holds.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from agent.parent.children import ChildHandle
from agent.parent.clock import ClockView
from agent.processes.spec import Role
from failover.core.types import Role as PairRole
from touchline.config import NodeConfig
from touchline.timeline import ClockState

SPARED: Final = frozenset({Role.RECORDER, Role.UART})
"""Never worth the node: where one is lost the node is degraded and goes on. They hear the role."""


class NodeDuty:
    """One node's. ``lost``: why a recorder, or the serial line, is given up, by its name."""

    def __init__(self, config: NodeConfig) -> None:
        self._on_unlocked = config.clock.on_unlocked
        self._gated = config.failover is not None
        alone = (PairRole.ACTIVE.value, config.node.epoch)
        self.role: tuple[str, int] = (PairRole.STANDBY.value, 0) if self._gated else alone
        self.lost: dict[str, str] = {}
        self._clock_ok: bool | None = None

    def fitness(self, clock: ClockView) -> dict[str, Any]:
        """What decides, besides frames and heat (the publisher's), whether this node can be the active one."""
        self._clock_ok = self._is_good(clock)
        return {"clock_ok": self._clock_ok, "trouble": "" if self._clock_ok else clock.trouble}

    def must_tell(self, clock: ClockView) -> bool:
        """Whether the clock has become good or bad since :meth:`fitness` said so."""
        return self._gated and self._clock_ok is not self._is_good(clock)

    def _is_good(self, clock: ClockView) -> bool:
        return clock.stamp.state is not ClockState.UNLOCKED or self._on_unlocked == "flag"

    def tell(self, children: Sequence[ChildHandle]) -> None:
        """Tell each recorder and the serial line the role and its epoch, once a change and once a life."""
        for child in children:
            if child.spec.role is Role.PUBLISHER and child.duty is not None:
                self.role = child.duty
        role, epoch = self.role
        for child in children:
            if child.spec.role in SPARED and child.running and child.told_duty != self.role:
                told = child.tell({"type": "role", "role": role, "epoch": epoch})
                child.told_duty = self.role if told else None

    def troubles(self, children: Sequence[ChildHandle], given_up: Collection[int]) -> list[str]:
        """Why the node is degraded: recorders that do not record, of cameras that deliver; a mute serial line."""
        over = {child.spec.camera for child in children if child.spec.role is Role.CAPTURE and child.finished}
        over |= set(given_up)
        ended = [
            f"{child.name} ended without being told"
            for child in children
            if child.spec.role in SPARED
            and child.finished
            and (child.spec.camera is None or child.spec.camera not in over)
        ]
        silent = [
            f"serial line: {child.report['uart']['trouble']}"
            for child in children
            if child.spec.role is Role.UART and child.running and child.report.get("uart", {}).get("trouble")
        ]
        return [*self.lost.values(), *ended, *silent]
