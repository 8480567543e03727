"""A hand-over that a person asked for: whether it may begin, and what became of it. Pure."""

from __future__ import annotations

from typing import Any

from failover.core.change import refuse_handover
from failover.core.draft import Draft
from failover.core.step import State, describe
from failover.core.types import Role
from failover.service.show import health_text


def why_not(state: State, now_ns: int) -> str:
    """Why none may begin; empty when one may."""
    said, settings = describe(state, now_ns), state.settings
    twin = said["twin"]
    if said["role"] != Role.ACTIVE.value:
        return f"{settings.node} is standby; hand over from {settings.twin}"
    if twin["heard_ms_ago"] is not None and not twin["suspected"] and not twin["fit"]:
        return f"{settings.twin} is not fit to take over: {health_text(twin['health'])}"
    return refuse_handover(Draft.of(state, now_ns))


def answer(state: State, now_ns: int, until_ns: int) -> dict[str, Any] | None:
    """What the person is told; None while it is under way."""
    said, twin = describe(state, now_ns), state.settings.twin
    if said["role"] == Role.STANDBY.value and said["twin"]["role"] == Role.ACTIVE.value:
        return {"ok": True, "text": f"{twin} is active, epoch {said['twin']['epoch']}"}
    if now_ns >= until_ns or not said["handing_over"]:
        return {"ok": False, "text": f"{twin} did not take over; this node is {said['role']}"}
    return None
