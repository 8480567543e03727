"""One step of a node's failover: what is known, what happened, when; out come what is known now and what is to be done.

The order of a step is the order of safety: first the time that passed (what has run out is given up before anything
else is looked at), then the event, then the decisions, then what is said. The actions come in the order in which they
must be done: gate and exclusive things, then the rest.
"""

from __future__ import annotations

from dataclasses import replace

from failover.core.change import become_standby, begin_handover, end_handover, lapse
from failover.core.describe import describe
from failover.core.draft import Draft
from failover.core.hear import hear, open_for_records
from failover.core.judge import active_twin, compare, records_alone, wanted, why_hand_over
from failover.core.speak import next_wake_ns, speak
from failover.core.state import LATE_NOTE_NS, RACK_NOTE_NS, SETTLE_NS, Attention, State, initial
from failover.core.types import NS_PER_MS, Action, Event, Role, Trigger

__all__ = ["State", "describe", "finished", "initial", "next_wake_ns", "step"]


def step(state: State, event: Event, now_ns: int) -> tuple[State, tuple[Action, ...]]:
    """Return the next state and what is to be done, in order. Time never goes back: an earlier ``now_ns`` is now."""
    draft = Draft.of(state, max(now_ns, state.attention.stepped_ns))
    _pass_time(draft)
    _want(draft)
    hear(draft, event)
    _want(draft)
    _decide(draft)
    speak(draft)
    _tell(draft)
    return draft.freeze(), (*draft.first, *draft.then)


def finished(state: State) -> bool:
    """Whether the service may end: it was told to stop and holds nothing."""
    return state.me.stopping and state.me.role is Role.STANDBY


def _pass_time(draft: Draft) -> None:
    before, settings, now_ns = draft.attention, draft.settings, draft.now_ns
    gap_ns = now_ns - before.stepped_ns
    late = gap_ns > settings.beat_ns
    deaf_until_ns = before.deaf_until_ns
    # a node that is always a little late must not be deaf for ever; one late by beats cannot judge
    if late and (gap_ns > 2 * settings.beat_ns or now_ns - deaf_until_ns > settings.silence_ns):
        deaf_until_ns = now_ns + settings.beat_ns
    draft.attention = Attention(
        started_ns=before.started_ns,
        stepped_ns=now_ns,
        deaf_until_ns=deaf_until_ns,
        late=late,
        late_noted_ns=before.late_noted_ns,
        twin_silent_ns=before.twin_silent_ns + min(gap_ns, settings.beat_ns),
        witness_silent_ns=before.witness_silent_ns + min(gap_ns, settings.renew_ns),
    )
    _run_out(draft)
    if late:
        _note_late(draft, gap_ns)
    twin = draft.twin
    if twin.alive and now_ns >= deaf_until_ns and draft.attention.twin_silent_ns >= twin.suspicion.limit_ns:
        draft.twin = replace(twin, suspected_ns=now_ns, fit_ns=None, overlap=0)
    if draft.witness.ok and draft.attention.witness_silent_ns >= settings.witness_lost_ns:
        draft.witness = replace(draft.witness, ok=False)


def _run_out(draft: Draft) -> None:
    """Give up what has run out."""
    if draft.me.role is not Role.ACTIVE:
        return
    if draft.hold.holding:
        if draft.now_ns >= draft.hold.until_ns:
            lapse(draft)
    elif draft.attention.late and (draft.talk.gate is None or draft.now_ns >= draft.talk.gate.until_ns):
        become_standby(draft, "this node was stopped")


def _note_late(draft: Draft, gap_ns: int) -> None:
    noted_ns, now_ns = draft.attention.late_noted_ns, draft.now_ns
    if noted_ns is None or now_ns - noted_ns > LATE_NOTE_NS:
        draft.attention = replace(draft.attention, late_noted_ns=now_ns)
        draft.note("warning", "late_tick", f"the failover service was not run for {gap_ns / NS_PER_MS:.0f} ms")


def _want(draft: Draft) -> None:
    me = draft.me
    want = wanted(draft) if me.role is Role.STANDBY else None
    if want is not me.want:
        draft.me = replace(me, want=want)


def _decide(draft: Draft) -> None:
    if draft.me.role is Role.ACTIVE:
        _decide_active(draft)
    else:
        _decide_standby(draft)


def _decide_active(draft: Draft) -> None:
    me, now_ns = draft.me, draft.now_ns
    if me.handing is not None:
        if now_ns >= me.handing.until_ns:
            end_handover(draft, me.handing)
        return
    if not draft.hold.holding and not records_alone(draft):
        become_standby(draft, "neither lease nor promise")
        return
    worse = compare(draft)
    if worse != me.worse:
        draft.me = replace(me, worse=worse, worse_ns=now_ns)
    reason = why_hand_over(draft)
    if reason:
        begin_handover(draft, reason)


def _decide_standby(draft: Draft) -> None:
    me, now_ns, witness = draft.me, draft.now_ns, draft.witness
    nobody_ns = None if active_twin(draft) is not None else me.nobody_ns or now_ns
    if nobody_ns != me.nobody_ns:
        draft.me = replace(me, nobody_ns=nobody_ns)
    waited_ns = now_ns - draft.attention.started_ns
    if me.want is None or witness.ok or not records_alone(draft) or waited_ns < draft.settings.grace_ns // 2:
        return
    beat = active_twin(draft)
    if me.want is Trigger.UNFIT and (beat is None or not beat.handover):
        return
    open_for_records(draft, me.want)


def _tell(draft: Draft) -> None:
    """Events for people: each loss once, each return once it has lasted."""
    twin, witness, now_ns, settings = draft.twin, draft.witness, draft.now_ns, draft.settings
    if twin.suspected_ns is not None and not twin.lost_noted:
        silent_ms = (now_ns - twin.heard_ns) / NS_PER_MS
        draft.note("warning", "twin_lost", f"{settings.twin} has been silent for {silent_ms:.0f} ms")
        draft.twin = replace(twin, lost_noted=True)
    elif twin.lost_noted and twin.alive and now_ns - twin.back_ns >= SETTLE_NS:
        draft.note("info", "twin_back", f"{settings.twin} is heard again")
        draft.twin = replace(twin, lost_noted=False)
    began_ns = draft.attention.started_ns + settings.grace_ns
    since_ns = began_ns if witness.answered_ns is None else witness.answered_ns + RACK_NOTE_NS
    if not witness.ok and now_ns >= since_ns and not witness.lost_noted:
        draft.note("warning", "witness_lost", "the witness on the rack does not answer")
        draft.witness = replace(witness, lost_noted=True)
    elif witness.lost_noted and witness.ok and now_ns - witness.ok_ns >= SETTLE_NS:
        draft.note("info", "witness_back", "the witness on the rack answers again")
        draft.witness = replace(witness, lost_noted=False)
