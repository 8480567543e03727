"""What each event changes."""

from __future__ import annotations

from dataclasses import replace

from failover.core.change import (
    become_active,
    become_standby,
    begin_handover,
    give_back,
    lapse,
    refuse_handover,
    renew_ns,
)
from failover.core.draft import Draft
from failover.core.judge import able, holder_is_twin, must_yield
from failover.core.state import DRILL_NS, LONGEST_PROMISE_NS, Twin
from failover.core.suspicion import unknown
from failover.core.types import (
    MAX_TOLD_EPOCH,
    NS_PER_MS,
    Beat,
    BeatHeard,
    CameraCursor,
    Command,
    Denied,
    Event,
    Granted,
    Pipeline,
    Role,
    Trigger,
    TwinRestarted,
)

_OVERLAP_NOTED = 3  # beats in a row in which both were active


def hear(draft: Draft, event: Event) -> None:
    """Take an event in; a tick brings nothing but time."""
    match event:
        case BeatHeard():
            _beat(draft, event.beat)
        case TwinRestarted():
            _restarted(draft)
        case Granted():
            _granted(draft, event)
        case Denied():
            _denied(draft, event)
        case Pipeline():
            _pipeline(draft, event)
        case Command():
            _command(draft, event)
        case _:
            pass


def _pipeline(draft: Draft, event: Pipeline) -> None:
    me = draft.me
    unable_ns = None if able(event.health) else me.unable_ns or draft.now_ns
    draft.me = replace(me, health=event.health, cursors=event.cursors, unable_ns=unable_ns)


# --- the twin ---


def _beat(draft: Draft, beat: Beat) -> None:
    _take_promise(draft, beat)
    before = draft.twin.beat
    if before is not None and beat.number <= before.number:
        return
    _take_newest(draft, beat)
    me = draft.me
    draft.me = replace(
        me,
        known=max(me.known, beat.epoch) if beat.epoch <= MAX_TOLD_EPOCH else me.known,
        joined=me.joined or beat.role is Role.ACTIVE,
        switched_ns=draft.now_ns if before is not None and before.role is not beat.role else me.switched_ns,
    )
    if beat.late and not (before is not None and before.late):
        draft.talk = replace(draft.talk, next_ask_ns=draft.now_ns)  # is it the witness, or its link?
    _vouched(draft, before, beat)
    # It holds nothing now, so it needs no promise of ours; only a beat that answers this session's can say so.
    if (beat.role is Role.STANDBY or beat.handover) and beat.seen >= draft.talk.first:
        draft.hold = replace(draft.hold, pledge_until_ns=0)
    if beat.role is Role.ACTIVE:
        draft.covered = _furthest(draft.covered, beat.cursors)
    if beat.role is Role.ACTIVE and me.role is Role.ACTIVE:
        _both_active(draft, beat)
    else:
        _adopt(draft, beat)
        draft.twin = replace(draft.twin, overlap=0) if draft.twin.overlap else draft.twin


def _take_promise(draft: Draft, beat: Beat) -> None:
    """A promise counts from when we sent the beat that it answers; an older beat's promise is as good as a newer's.

    No settings allow one beyond ``LONGEST_PROMISE_NS``, nor does a new session of the twin wait longer for it.
    """
    hold = draft.hold
    if beat.promise_ns <= 0 or beat.seen <= hold.floor or not hold.holding:
        return
    for number, sent_ns in reversed(draft.talk.sent):
        if number == beat.seen:
            until_ns = sent_ns + min(beat.promise_ns, LONGEST_PROMISE_NS) - draft.settings.lease_margin_ns
            if until_ns > hold.promise_until_ns:
                draft.hold = replace(hold, promise_until_ns=until_ns)
            return


def _take_newest(draft: Draft, beat: Beat) -> None:
    twin, now_ns, silent_ns = draft.twin, draft.now_ns, draft.attention.twin_silent_ns
    suspicion = twin.suspicion
    if twin.alive and silent_ns == now_ns - twin.heard_ns:  # else this node slept: the gap is not the twin's
        suspicion = suspicion.heard(silent_ns)
    health = beat.health
    draft.twin = replace(
        twin,
        suspicion=suspicion,
        beat=beat,
        heard_ns=now_ns,
        suspected_ns=None,
        back_ns=twin.back_ns if twin.alive else now_ns,
        fit_ns=(twin.fit_ns or now_ns) if health.fit else None,
        rack_bad_ns=None if health.rack_ok else twin.rack_bad_ns or now_ns,
    )
    draft.attention = replace(draft.attention, twin_silent_ns=0)


def _furthest(ours: tuple[CameraCursor, ...], theirs: tuple[CameraCursor, ...]) -> tuple[CameraCursor, ...]:
    if not theirs:
        return ours
    furthest = {cursor.camera: cursor.ptp_ns for cursor in ours}
    for cursor in theirs:
        furthest[cursor.camera] = max(cursor.ptp_ns, furthest.get(cursor.camera, cursor.ptp_ns))
    return tuple(CameraCursor(camera, furthest[camera]) for camera in sorted(furthest))


def _both_active(draft: Draft, beat: Beat) -> None:
    me = draft.me
    draft.twin = replace(draft.twin, overlap=draft.twin.overlap + 1)
    if me.handing is not None:
        if not beat.handover:
            reason = f"handed over: {me.handing.reason}"
            become_standby(draft, reason, Trigger.HANDOVER)
        return
    if beat.handover:
        return
    yields = must_yield(draft, beat)
    tie = beat.epoch == me.epoch and draft.twin.overlap == 1
    if tie or draft.twin.overlap == _OVERLAP_NOTED or (yields and draft.hold.holding):
        draft.note("error", "two_active", f"both are active: epoch {me.epoch} here, {beat.epoch} there")
    if yields:
        become_standby(draft, f"the twin is active under epoch {beat.epoch}, this node under {me.epoch}")


def _adopt(draft: Draft, beat: Beat) -> None:
    """Active for records alone: under what a standby twin knows of, for the rack may have seen records under it.

    Only what a standby tells, which is nobody's lease there; what a witness or an active twin tells may be the twin's.
    """
    me = draft.me
    alone = me.role is Role.ACTIVE and not draft.hold.holding and me.handing is None
    if alone and beat.role is Role.STANDBY and me.epoch < beat.epoch <= MAX_TOLD_EPOCH:
        draft.me = replace(me, epoch=beat.epoch)
        draft.note("info", "epoch", f"records go on under epoch {beat.epoch}, which {draft.settings.twin} knows of")


def _restarted(draft: Draft) -> None:
    settings, old = draft.settings, draft.twin
    draft.twin = Twin(
        unknown(settings.beat_ns, settings.silence_ns, settings.phi), heard_ns=old.heard_ns, lost_noted=old.lost_noted
    )
    draft.attention = replace(draft.attention, twin_silent_ns=0)
    draft.witness = replace(draft.witness, probe=None, vouched=0)


# --- the witness ---


def _vouched(draft: Draft, before: Beat | None, beat: Beat) -> None:
    """The twin was answered after it had heard that we miss answers; are ours still missing from now on?"""
    witness = draft.witness
    if 0 < witness.late_from <= beat.vouched and (before is None or before.vouched < beat.vouched):
        if witness.backed is None:
            draft.talk = replace(draft.talk, next_ask_ns=draft.now_ns)
        missed = witness.missed if witness.backed is None else witness.backed[1]
        draft.witness = replace(witness, backed=(draft.now_ns, missed))


def _answered(draft: Draft, sent_ns: int, holder: str, wait_ns: int) -> None:
    witness, now_ns = draft.witness, draft.now_ns
    asked_ns = sent_ns or now_ns
    if now_ns - asked_ns > draft.settings.witness_lost_ns or asked_ns < witness.asked_ns:
        return  # an answer so old says nothing of now
    probe, vouched = witness.probe, witness.vouched
    if probe is not None and sent_ns >= probe[0]:
        vouched, probe = probe[1], None
    draft.witness = replace(
        witness,
        ok=True,
        ok_ns=witness.ok_ns if witness.ok else now_ns,
        answered_ns=now_ns,
        asked_ns=asked_ns,
        holder=holder,
        holder_until_ns=now_ns + wait_ns,
        missed=0,
        late_from=0,
        backed=None,
        probe=probe,
        vouched=vouched,
    )
    draft.attention = replace(draft.attention, witness_silent_ns=0)
    due_ns = asked_ns + renew_ns(draft)
    if due_ns > now_ns and not draft.talk.claiming and draft.me.handing is None:
        draft.talk = replace(draft.talk, next_ask_ns=due_ns)


def _granted(draft: Draft, event: Granted) -> None:
    draft.hold = hold = replace(draft.hold, lease_ns=event.lease_ns)
    me, now_ns = draft.me, draft.now_ns
    _answered(draft, event.sent_ns, draft.settings.node, event.lease_ns)
    until_ns = event.sent_ns + event.lease_ns - draft.settings.lease_margin_ns
    if event.epoch < me.known or event.sent_ns > now_ns or until_ns <= now_ns:
        return  # the lease of before, or a witness that lost its file and learns from the next question
    draft.me = replace(me, known=event.epoch)
    void = event.sent_ns <= hold.void_ns or event.epoch <= hold.released
    renews = me.role is Role.ACTIVE and me.handing is None
    bound = not hold.holding and now_ns < hold.pledge_until_ns  # also of one that is active for records alone
    if void or bound or not (renews or me.want is not None):
        if not hold.holding:  # an old answer under the epoch of what we hold since must not free that
            give_back(draft, event.epoch)
        return
    draft.hold = replace(hold, holding=True, granted=event.epoch, lease_until_ns=max(hold.lease_until_ns, until_ns))
    draft.granted = True
    if me.want is not None and not renews:
        become_active(draft, me.want, event.epoch, _because(draft, me.want))
    elif event.epoch != me.epoch or not hold.holding:
        reason = f"lease under epoch {event.epoch}"
        draft.me = replace(draft.me, epoch=event.epoch, reason=reason)
        draft.note("info", "lease", f"the witness gives the lease under epoch {event.epoch}")


def _denied(draft: Draft, event: Denied) -> None:
    _answered(draft, event.sent_ns, event.holder, event.wait_ns)
    me, settings, now_ns = draft.me, draft.settings, draft.now_ns
    draft.me = replace(me, known=max(me.known, event.epoch)) if event.epoch > me.known else me
    if draft.talk.claiming:
        again_ns = now_ns + min(max(event.wait_ns, NS_PER_MS), settings.claim_ns)
        draft.talk = replace(draft.talk, next_ask_ns=min(again_ns, draft.talk.next_ask_ns))
    if me.role is not Role.ACTIVE or event.holder != settings.twin or event.epoch <= draft.hold.granted:
        return
    draft.hold = replace(draft.hold, lease_until_ns=0)
    if draft.hold.holding:
        if now_ns >= draft.hold.until_ns:
            lapse(draft)
    elif me.handing is None and holder_is_twin(draft):
        become_standby(draft, "the twin holds the lease")


def _because(draft: Draft, trigger: Trigger) -> str:
    twin = draft.twin
    silent_ms = (draft.now_ns - twin.heard_ns) / NS_PER_MS
    return {
        Trigger.START: "nobody was active",
        Trigger.SILENCE: f"the twin has been silent for {silent_ms:.0f} ms",
        Trigger.DRILL: f"drill: the twin has been silent for {silent_ms:.0f} ms",
        Trigger.UNFIT: "the twin is not fit",
        Trigger.HANDOVER: "the twin handed over",
    }[trigger]


def open_for_records(draft: Draft, trigger: Trigger) -> None:
    """The witness does not answer: records go under the highest epoch known, nothing exclusive is taken."""
    reason = f"{_because(draft, trigger)}; the witness does not answer: records alone"
    become_active(draft, trigger, draft.me.known, reason)


# --- people and timers ---


def _command(draft: Draft, event: Command) -> None:
    me = draft.me
    match event.what:
        case "handover":
            refused = refuse_handover(draft)
            if refused:
                draft.note("warning", "handover_refused", refused)
            else:
                begin_handover(draft, "asked for")
        case "drill-begin":
            draft.me = replace(me, drill_until_ns=draft.now_ns + DRILL_NS)
        case "drill-end":
            draft.me = replace(me, drill_until_ns=0)
        case "stop":
            _stop(draft)


def _stop(draft: Draft) -> None:
    """Hand over if there is to whom, and never claim again."""
    draft.me = replace(draft.me, stopping=True, want=None)
    if draft.me.role is not Role.ACTIVE:
        draft.me = replace(draft.me, reason="stopped")
        return
    beat = draft.twin.beat
    if draft.me.handing is not None:
        draft.me = replace(draft.me, handing=replace(draft.me.handing, stop=True))
    elif draft.twin.alive and beat is not None and able(beat.health):
        begin_handover(draft, "this service stops", stop=True)
    else:
        become_standby(draft, "stopped; there is no able twin")
