"""What goes out at the end of a step: gate, exclusive things, question to the witness, beat; and the next wake."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

from failover.core.draft import Draft
from failover.core.judge import active_twin, holder_is_twin, promise, records_alone
from failover.core.state import SENT_KEPT, State, View
from failover.core.types import AskWitness, Beat, Exclusive, Gate, Health, Role, SendBeat


def speak(draft: Draft) -> None:
    """Say everything that is due. The beat comes before the gate, for the gate is repeated with each beat."""
    beaten = _beat(draft)
    _gate(draft, repeat=beaten)
    _exclusive(draft)
    _ask(draft)


def own_health(view: View) -> Health:
    """What this node says of itself: one that has stopped takes no frames."""
    health, stopped = view.me.health, view.me.stopping and view.me.role is Role.STANDBY
    return Health(
        cameras=health.cameras,
        clock_ok=health.clock_ok,
        hot=health.hot,
        rack_ok=view.witness.ok,
        publishing=health.publishing and not stopped,
        broker_ok=health.broker_ok,
    )


def _beat(draft: Draft) -> bool:
    talk, me, witness, now_ns, beat_ns = draft.talk, draft.me, draft.witness, draft.now_ns, draft.settings.beat_ns
    promise_ns, heard, health = promise(draft), draft.twin.beat, own_health(draft)
    epoch = me.epoch if me.role is Role.ACTIVE else me.known
    gist = (me.role, epoch, health, me.handing is not None, promise_ns > 0, witness.late, witness.vouched)
    due = now_ns >= talk.next_beat_ns
    if not due and gist == talk.gist:
        return False
    beat = Beat(
        number=talk.number + 1,
        role=me.role,
        epoch=epoch,
        health=health,
        cursors=me.cursors,
        seen=heard.number if heard is not None else 0,
        promise_ns=promise_ns,
        handover=me.handing is not None,
        late=witness.late,
        vouched=witness.vouched,
    )
    if witness.late and not witness.late_from:
        draft.witness = replace(witness, late_from=beat.number)
    next_ns = talk.next_beat_ns
    if due:
        next_ns = next_ns + beat_ns if now_ns - next_ns < beat_ns else now_ns + beat_ns
    sent = (*talk.sent[1 - SENT_KEPT :], (beat.number, now_ns))
    draft.talk = replace(talk, number=beat.number, gist=gist, next_beat_ns=next_ns, sent=sent)
    if promise_ns > 0:
        until_ns = draft.twin.heard_ns + promise_ns
        draft.hold = replace(draft.hold, pledge_until_ns=max(draft.hold.pledge_until_ns, until_ns))
    draft.then.append(SendBeat(beat))
    return True


def _gate(draft: Draft, *, repeat: bool) -> None:
    me, hold, settings, now_ns = draft.me, draft.hold, draft.settings, draft.now_ns
    active = me.role is Role.ACTIVE
    until_ns = hold.until_ns if hold.holding else now_ns
    if active and records_alone(draft):
        until_ns = max(until_ns, now_ns + max(settings.lease_ns, 3 * settings.beat_ns))
    if me.handing is not None:
        until_ns = me.handing.until_ns
    settled = hold.holding if active else active_twin(draft) is not None or holder_is_twin(draft)
    gate = Gate(active and until_ns > now_ns, me.epoch, until_ns, me.role, settled, draft.covered)
    last = draft.talk.gate
    if repeat or draft.granted or last is None or _gate_gist(gate) != _gate_gist(last):
        draft.talk = replace(draft.talk, gate=gate)
        draft.first.append(gate)


def _gate_gist(gate: Gate) -> tuple[bool, int, Role, bool]:
    return gate.open, gate.epoch, gate.role, gate.settled


def _exclusive(draft: Draft) -> None:
    """Take or prolong; giving up was said where it happened. The first step of a life gives up what is left over."""
    hold, last = draft.hold, draft.talk.exclusive
    if hold.holding:
        said = Exclusive(True, draft.me.epoch, hold.until_ns)
        if last is not None and last.hold and last.epoch == said.epoch and said.until_ns <= last.until_ns:
            return
    elif last is None:
        said = Exclusive(False, draft.me.epoch, draft.now_ns)
    else:
        return
    draft.talk = replace(draft.talk, exclusive=said)
    draft.first.append(said)


def _ask(draft: Draft) -> None:
    me, hold, talk, settings, now_ns = draft.me, draft.hold, draft.talk, draft.settings, draft.now_ns
    active = me.role is Role.ACTIVE
    bound = not hold.holding and now_ns < hold.pledge_until_ns
    claiming = not active and me.want is not None and not bound
    if now_ns < talk.next_ask_ns and not (claiming and not talk.claiming):
        if claiming != talk.claiming:
            draft.talk = replace(talk, claiming=claiming)
        return
    renewing = active and not bound and (hold.holding or draft.witness.ok)
    what: Literal["claim", "look", "release"] = "claim" if claiming or renewing else "look"
    epoch, pause_ns = me.known, settings.claim_ns
    if not claiming:  # an answer puts the next question off until it is due
        pause_ns = settings.claim_ns // 2 if draft.witness.ok else settings.renew_ns
    if me.handing is not None:
        what = "release" if hold.granted > 0 else "look"
        epoch, pause_ns = hold.granted, settings.claim_ns
    draft.then.append(AskWitness(what, epoch))
    draft.talk = replace(talk, claiming=claiming, next_ask_ns=now_ns + pause_ns)
    _asked(draft)


def _asked(draft: Draft) -> None:
    """Count what awaits an answer; one that comes proves to a twin whose answers are late that the witness lives."""
    witness, beat = draft.witness, draft.twin.beat
    probe = witness.probe
    if probe is None and beat is not None and beat.late:
        probe = draft.now_ns, beat.number
    draft.witness = replace(witness, missed=witness.missed + 1, probe=probe)


def next_wake_ns(state: State) -> int:
    """Return when the next step is due if nothing else happens: never more than half a beat after the last."""
    attention, hold, twin, talk, me = state.attention, state.hold, state.twin, state.talk, state.me
    now_ns = attention.stepped_ns
    due = [now_ns + state.settings.beat_ns // 2, talk.next_beat_ns, talk.next_ask_ns]
    if hold.holding:
        due.append(hold.until_ns)
    if twin.alive:
        due.append(max(attention.deaf_until_ns, now_ns + twin.suspicion.limit_ns - attention.twin_silent_ns))
    if state.witness.ok:
        due.append(now_ns + state.settings.witness_lost_ns - attention.witness_silent_ns)
    if me.handing is not None:
        due.append(me.handing.until_ns)
    waits = (attention.deaf_until_ns, hold.pledge_until_ns, me.claim_after_ns)
    due.extend(wait_ns for wait_ns in waits if wait_ns > now_ns)
    return max(now_ns, min(due))
