"""A state as plain values, for status and logs: times in ms, None where there is nothing to say."""

from __future__ import annotations

from typing import Any

from failover.core.judge import able, active_twin, holder_is_twin, why_unable
from failover.core.speak import own_health
from failover.core.state import State
from failover.core.types import NS_PER_MS, Health, Role, Trigger

_WANTS = {
    Trigger.START: "nobody is active",
    Trigger.SILENCE: "the twin is silent",
    Trigger.DRILL: "drill: the twin is silent",
    Trigger.UNFIT: "the twin is not fit",
    Trigger.HANDOVER: "the twin hands over",
}


def describe(state: State, now_ns: int) -> dict[str, Any]:
    """What this node is, holds, promised and knows at ``now_ns``, and in ``reason`` why."""
    me, hold, settings = state.me, state.hold, state.settings
    switched_ns = me.switched_ns
    return {
        "role": me.role.value,
        "epoch": me.epoch if me.role is Role.ACTIVE else me.known,
        "exclusive": hold.holding and now_ns < hold.until_ns,
        "records": state.talk.gate is not None and state.talk.gate.open and now_ns < state.talk.gate.until_ns,
        "lease_left_ms": _left(hold.lease_until_ns, now_ns) if hold.holding else 0.0,
        "promise_left_ms": _left(hold.promise_until_ns, now_ns) if hold.holding else 0.0,
        "promised_ms": _left(hold.pledge_until_ns, now_ns),
        "health": _health(own_health(state)),
        "handing_over": me.handing is not None,
        "stopping": me.stopping,
        "drill": now_ns < me.drill_until_ns,
        "switched_ms_ago": None if switched_ns is None else _ms(now_ns - switched_ns),
        "reason": _reason(state),
        "twin": _twin(state, now_ns),
        "witness": {
            "ok": state.witness.ok,
            "answered_ms_ago": _ago(state.witness.answered_ns, now_ns),
            "holder": state.witness.holder if now_ns < state.witness.holder_until_ns else "",
        },
        "preferred": settings.preferred,
    }


def _twin(state: State, now_ns: int) -> dict[str, Any]:
    twin, settings = state.twin, state.settings
    beat, suspicion = twin.beat, twin.suspicion
    silent_ns = state.attention.twin_silent_ns + min(now_ns - state.attention.stepped_ns, settings.beat_ns)
    return {
        "name": settings.twin,
        "heard_ms_ago": _ms(now_ns - twin.heard_ns) if beat is not None else None,
        "phi": round(suspicion.phi_at(silent_ns), 2) if beat is not None else None,
        "suspected": twin.suspected_ns is not None,
        "suspected_after_ms": _ms(suspicion.limit_ns),
        "beat_ms": _ms(suspicion.mean_ns),
        "jitter_ms": _ms(suspicion.deviation_ns),
        "role": beat.role.value if beat is not None else None,
        "epoch": beat.epoch if beat is not None else None,
        "fit": beat is not None and beat.health.fit,
        "health": _health(beat.health) if beat is not None else None,
        "handing_over": beat is not None and beat.handover,
    }


def _reason(state: State) -> str:
    """What holds this node where it is, in words."""
    me = state.me
    if me.role is Role.ACTIVE:
        return me.reason if state.hold.holding or me.handing is not None else f"{me.reason}; records alone: no lease"
    if me.stopping:
        return "stopped"
    if me.want is not None:
        waits = "; the witness does not answer" if not state.witness.ok else ""
        waits = "; the witness says that the twin holds the lease" if holder_is_twin(state) else waits
        return f"wants to be active: {_WANTS[me.want]}{waits}"
    if not able(me.health):
        return f"not able: {why_unable(me.health)}"
    if active_twin(state) is not None:
        return "the twin is active"
    return f"waits; {me.reason}"


def _health(health: Health) -> dict[str, Any]:
    return {
        "cameras": health.cameras,
        "clock_ok": health.clock_ok,
        "hot": health.hot,
        "rack_ok": health.rack_ok,
        "publishing": health.publishing,
        "broker_ok": health.broker_ok,
        "fit": health.fit,
    }


def _ms(ns: float) -> float:
    return round(ns / NS_PER_MS, 3)


def _left(until_ns: int, now_ns: int) -> float:
    return _ms(max(0, until_ns - now_ns))


def _ago(then_ns: int | None, now_ns: int) -> float | None:
    return None if then_ns is None else _ms(now_ns - then_ns)
