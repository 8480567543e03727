"""The changes of role and of what is held. Each gives up first what must be given up, then says so."""

from __future__ import annotations

from dataclasses import replace

from failover.core.draft import Draft
from failover.core.judge import able, active_twin, holder_is_twin, records_alone
from failover.core.state import HANDOVER_AGAIN_NS, HANDOVER_NS, RENEWALS, STOP_NS, Handing
from failover.core.types import AskWitness, Changed, Exclusive, Gate, Role, Trigger


def drop_exclusive(draft: Draft) -> None:
    """Give up the virtual address and the recording. Promises that answer beats sent until now count no more."""
    hold = draft.hold
    if hold.holding:
        gone = Exclusive(False, draft.me.epoch, draft.now_ns)
        draft.first.append(gone)
        draft.talk = replace(draft.talk, exclusive=gone)
    draft.hold = replace(hold, holding=False, lease_until_ns=0, promise_until_ns=0, floor=draft.talk.number)


def give_back(draft: Draft, epoch: int) -> None:
    """Tell the witness that the lease is free. No grant of that epoch, or asked for until now, counts again."""
    draft.then.append(AskWitness("release", epoch))
    hold = draft.hold
    draft.hold = replace(hold, void_ns=draft.now_ns, released=max(hold.released, epoch))


def become_active(draft: Draft, trigger: Trigger, epoch: int, reason: str) -> None:
    """Open the gate; what was granted stands in ``draft.hold`` already."""
    twin = draft.twin
    lost = trigger in (Trigger.SILENCE, Trigger.DRILL)
    draft.me = replace(
        draft.me,
        role=Role.ACTIVE,
        epoch=epoch,
        known=max(draft.me.known, epoch),
        reason=reason,
        joined=True,
        want=None,
        handing=None,
        worse="",
        switched_ns=draft.now_ns,
        given_ns=(draft.me.given_ns[1], draft.now_ns) if twin.alive else draft.me.given_ns,
        nobody_ns=None,
    )
    draft.twin = replace(twin, overlap=0)
    draft.then.append(
        Changed(
            Role.ACTIVE,
            epoch,
            trigger,
            reason,
            heard_ns=twin.heard_ns if lost else None,
            suspected_ns=twin.suspected_ns if lost else None,
        )
    )
    draft.talk = replace(draft.talk, next_ask_ns=draft.now_ns + renew_ns(draft))


def renew_ns(draft: Draft) -> int:
    """How soon after a question the next one is due; a witness may give shorter leases than it is asked for."""
    settings, lease_ns = draft.settings, draft.hold.lease_ns
    return min(settings.renew_ns, lease_ns // RENEWALS) if lease_ns else settings.renew_ns


def become_standby(draft: Draft, reason: str, trigger: Trigger | None = None, *, wait: bool = True) -> None:
    """Shut the gate and drop what is exclusive, before all else. ``wait``: an able twin goes first for a while."""
    settings, hold, now_ns = draft.settings, draft.hold, draft.now_ns
    shut = Gate(False, draft.me.epoch, now_ns, Role.STANDBY, covered=draft.covered)
    draft.first.append(shut)
    draft.talk = replace(draft.talk, gate=shut, claiming=False)
    fresh = hold.granted > hold.released and now_ns < hold.lease_until_ns + 2 * settings.lease_margin_ns
    drop_exclusive(draft)
    if fresh:
        give_back(draft, hold.granted)
    backoff_ns = settings.lease_ns + settings.silence_ns if wait else 0
    draft.me = replace(
        draft.me,
        role=Role.STANDBY,
        reason=reason,
        handing=None,
        worse="",
        switched_ns=now_ns,
        claim_after_ns=now_ns + backoff_ns,
    )
    draft.then.append(Changed(Role.STANDBY, draft.me.epoch, trigger, reason))


def lapse(draft: Draft) -> None:
    """Lease and promise are over: the exclusive things go at once, and the role with them unless records may go on."""
    late, twin_holds = draft.attention.late, holder_is_twin(draft)
    if draft.me.handing is None and (late or twin_holds or not records_alone(draft)):
        why = "this node was stopped" if late else "the twin holds it" if twin_holds else "nobody renewed it"
        become_standby(draft, f"lease over: {why}")
        return
    if draft.hold.holding:
        draft.note("warning", "exclusive_lost", "neither lease nor promise: only records go on")
    drop_exclusive(draft)
    if draft.hold.granted > draft.hold.released:  # claims of ours may still arrive where answers do not come back
        give_back(draft, draft.hold.granted)


def begin_handover(draft: Draft, reason: str, *, stop: bool = False) -> None:
    """Ask the twin to take over: exclusive things and lease go at once, the gate stays open until it is active."""
    drop_exclusive(draft)
    if draft.hold.granted > draft.hold.released:
        give_back(draft, draft.hold.granted)
    until_ns = draft.now_ns + (STOP_NS if stop else HANDOVER_NS)
    draft.me = replace(draft.me, handing=Handing(until_ns, stop, reason), reason=f"handing over: {reason}", worse="")
    draft.talk = replace(draft.talk, next_ask_ns=draft.now_ns + draft.settings.claim_ns)


def refuse_handover(draft: Draft) -> str:
    """Return why the twin cannot take over on demand; empty when it can."""
    twin, beat, witness = draft.twin, draft.twin.beat, draft.witness
    fit = beat is not None and able(beat.health) and beat.health.rack_ok and beat.health.broker_ok
    hurdles = (
        (draft.me.role is not Role.ACTIVE, "this node is not active; ask the active one"),
        (draft.me.handing is not None, "a handover is going on"),
        (not twin.alive, "the twin is not heard"),
        (active_twin(draft) is not None, "the twin says that it is active too"),
        (not witness.ok, "the witness does not answer, so the twin could get no lease"),
        (not fit, "the twin is not fit"),
    )
    return next((why for met, why in hurdles if met), "")


def end_handover(draft: Draft, handing: Handing) -> None:
    """The twin did not take it in time: stop all the same, or claim it back."""
    if handing.stop:
        become_standby(draft, "stopped; the twin did not take over", Trigger.HANDOVER)
        return
    draft.note("warning", "handover_failed", f"the twin did not take over ({handing.reason}); this node goes on")
    if not records_alone(draft):
        become_standby(draft, "the twin did not take over", wait=False)
        return
    hand_after_ns = draft.now_ns + HANDOVER_AGAIN_NS
    draft.me = replace(draft.me, handing=None, hand_after_ns=hand_after_ns, reason="the twin did not take over")
    draft.talk = replace(draft.talk, next_ask_ns=draft.now_ns)
