"""The judgements: who is able, who is better, what a standby wants, what it promises. They change nothing."""

from __future__ import annotations

from typing import Final

from failover.core.state import (
    BACKED_MISSES,
    DEFER_NS,
    HANDOVER_AGAIN_NS,
    HARD_BEATS,
    LONGEST_PROMISE_NS,
    LOST_MISSES,
    LOST_RENEWALS,
    RACKLESS_PROMISE_NS,
    SOFT_NS,
    VOLUNTARY_NS,
    View,
)
from failover.core.types import Beat, Health, Role, Trigger

_ABLE: Final = 1
_WELL: Final = 2


def able(health: Health) -> bool:
    """Frames come through and may be published: better than nobody."""
    return health.cameras > 0 and health.clock_ok and health.publishing


def rank(health: Health) -> int:
    """0: useless, 1: able, 2: able, cool and acknowledged by the broker. The witness is judged by comparison alone."""
    if not able(health):
        return 0
    return _WELL if not health.hot and health.broker_ok else _ABLE


def why_unable(health: Health) -> str:
    """Say what is missing, for people; empty for a node that is able."""
    missing = (
        (health.publishing, "its publisher is not there"),
        (health.cameras > 0, "no camera delivers frames"),
        (health.clock_ok, "its clock is not fit to stamp"),
    )
    return next((text for good, text in missing if not good), "")


def active_twin(view: View) -> Beat | None:
    """Return the newest beat of a twin that lives and says it is active."""
    beat = view.twin.beat
    return beat if beat is not None and view.twin.alive and beat.role is Role.ACTIVE else None


def records_alone(view: View) -> bool:
    """Whether records may go on with neither lease nor promise."""
    return view.settings.without_witness == "records"


def holder_is_twin(view: View) -> bool:
    """The witness said that the twin holds the lease, and that may still be so."""
    witness = view.witness
    return witness.holder == view.settings.twin and view.now_ns < witness.holder_until_ns


def rack_cut(view: View) -> bool:
    """The twin has lost the witness and we have it, and it is no matter of a lost answer or of who notices first.

    When the witness dies, one of two nodes notices some beats before the other; when it comes back, one is answered
    first. So an answer is needed to a question asked after the twin complained, and ours must have come for a while;
    and the twin must have complained for as long as our last promise to it binds us anyway.
    """
    bad_ns, witness, settings, now_ns = view.twin.rack_bad_ns, view.witness, view.settings, view.now_ns
    if bad_ns is None or not witness.ok or witness.asked_ns <= bad_ns:
        return False
    lasted = now_ns - bad_ns >= settings.silence_ns - settings.beat_ns // 2
    return lasted and now_ns - witness.ok_ns > settings.witness_lost_ns + settings.renew_ns


def rack_lost(view: View) -> bool:
    """The witness answers the twin and not this active node, which need not wait for the end of its lease then.

    That the twin has been answered is no proof: when the witness dies one of two nodes has the last answer, and when it
    comes back one has the first. So the twin has to vouch for an answer to a question that it asked after it had heard
    that we miss some, and then we have to miss some more.
    """
    witness, beat, settings, now_ns = view.witness, view.twin.beat, view.settings, view.now_ns
    if witness.missed < LOST_MISSES or view.attention.witness_silent_ns < LOST_RENEWALS * settings.renew_ns:
        return False
    if beat is None or not view.twin.alive or beat.role is Role.ACTIVE or rank(beat.health) != _WELL:
        return False
    if witness.backed is None or beat.late or not beat.health.rack_ok:
        return False
    backed_ns, missed = witness.backed
    backed = now_ns - backed_ns <= settings.witness_lost_ns and witness.missed - missed >= BACKED_MISSES
    return backed and (view.me.switched_ns is None or now_ns - view.me.switched_ns >= HANDOVER_AGAIN_NS)


def wanted(view: View) -> Trigger | None:
    """Return why this standby ought to become active now, None when it ought not."""
    me, twin = view.me, view.twin
    if me.stopping or not able(me.health) or view.now_ns < view.attention.deaf_until_ns:
        return None
    beat = twin.beat
    if beat is None or beat.role is Role.STANDBY:
        return _wanted_of_nobody(view)
    if not twin.alive:
        return Trigger.DRILL if view.now_ns < me.drill_until_ns else Trigger.SILENCE
    if beat.handover:
        well = rank(beat.health) == _WELL and beat.health.rack_ok and not beat.late
        return Trigger.HANDOVER if well else Trigger.UNFIT
    if rack_cut(view):
        return Trigger.UNFIT
    return Trigger.UNFIT if view.witness.ok and not able(beat.health) else None


def _wanted_of_nobody(view: View) -> Trigger | None:
    """Nobody is known to be active: at the start, or after the active one stepped back."""
    me, twin, settings, now_ns = view.me, view.twin, view.settings, view.now_ns
    if not me.joined:
        if settings.start == "standby" and not _left_alone(view):
            return None
        grace_ns = settings.grace_ns // 2 if settings.preferred else settings.grace_ns
        if settings.start == "auto" and now_ns < view.attention.started_ns + grace_ns:
            return None
    if twin.beat is not None and twin.alive:
        theirs = rank(twin.beat.health)
        if theirs > 0 and now_ns < me.claim_after_ns:
            return None
        if theirs > rank(me.health) and (me.nobody_ns is None or now_ns - me.nobody_ns < DEFER_NS):
            return None
    return Trigger.START


def _left_alone(view: View) -> bool:
    """The twin was heard, and then fell silent or has been of no use for a while: also a standby by choice steps in."""
    twin, nobody_ns = view.twin, view.me.nobody_ns
    if twin.suspected_ns is not None:
        return True
    useless = twin.beat is not None and rank(twin.beat.health) == 0
    return useless and nobody_ns is not None and view.now_ns - nobody_ns >= view.settings.grace_ns


def promise(view: View) -> int:
    """Return for how long after the twin's newest beat this node will not claim, ns; 0: it promises nothing."""
    me, beat = view.me, active_twin(view)
    if beat is None or beat.handover or me.role is Role.ACTIVE or me.want is not None or me.stopping:
        return 0
    if view.witness.ok and view.twin.rack_bad_ns is not None:
        return 0  # it may have to be succeeded: see rack_cut
    silence_ns = view.settings.silence_ns
    return min(LONGEST_PROMISE_NS, silence_ns if view.witness.ok else max(RACKLESS_PROMISE_NS, silence_ns))


def compare(view: View) -> str:
    """How the active node compares with its twin: "hard" (it must give way), "soft" (it should), "" (it stays)."""
    me, beat = view.me, view.twin.beat
    if beat is None or not view.twin.alive or beat.role is Role.ACTIVE or not able(beat.health):
        return ""
    if view.witness.ok and not beat.health.rack_ok:
        return ""
    if not able(me.health):
        return "hard"
    better = rank(me.health) != _WELL or me.health.cameras < beat.health.cameras
    return "soft" if better and rank(beat.health) == _WELL else ""


def why_hand_over(view: View) -> str:
    """Return why the active node should hand over by itself now; empty: it should not."""
    me, twin, now_ns = view.me, view.twin, view.now_ns
    if now_ns < me.hand_after_ns or now_ns < view.attention.deaf_until_ns or twin.beat is None:
        return ""
    if rack_lost(view):
        return "the witness answers the twin and not this node"
    lasted_ns = now_ns - me.worse_ns
    if me.worse == "hard" and lasted_ns >= _least_ns(view) and not _is_patient(view):
        return why_unable(me.health)
    if me.switched_ns is not None and now_ns - me.switched_ns < VOLUNTARY_NS:
        return ""
    if me.worse == "soft" and lasted_ns >= SOFT_NS:
        return _why_soft(me.health, twin.beat.health)
    return _why_fail_back(view)


def _least_ns(view: View) -> int:
    """How long a twin must have been able to do what this node is not, before it is asked to."""
    return HARD_BEATS * view.settings.beat_ns if view.me.health.publishing else 0


def _is_patient(view: View) -> bool:
    """Whether this node, which is not able now, may be so again in a moment.

    A pair whose nodes both fail for moments would go to and fro, and each switch costs more than such a moment. So a
    node that was left the role twice within ten seconds keeps it until it has been unable for a while.
    """
    me, now_ns = view.me, view.now_ns
    before_ns = me.given_ns[0]
    if before_ns is None or now_ns - before_ns >= VOLUNTARY_NS or me.unable_ns is None:
        return False
    return now_ns - me.unable_ns < view.settings.patience_ns


def _why_fail_back(view: View) -> str:
    me, twin, settings, now_ns = view.me, view.twin, view.settings, view.now_ns
    standby = twin.beat is not None and twin.beat.role is Role.STANDBY
    well = twin.alive and view.witness.ok and standby
    if settings.fail_back and not settings.preferred and well and twin.fit_ns is not None:
        fit_ns = now_ns - twin.fit_ns
        if fit_ns >= settings.fail_back_after_ns and now_ns - (me.switched_ns or 0) >= settings.fail_back_after_ns:
            return f"fail-back: the preferred node has been fit for {fit_ns / 1e9:.0f} s"
    return ""


def _why_soft(ours: Health, theirs: Health) -> str:
    if ours.hot:
        return "it is hot"
    if not ours.broker_ok:
        return "the broker does not acknowledge"
    return f"{ours.cameras} cameras here, {theirs.cameras} there"


def must_yield(view: View, beat: Beat) -> bool:
    """Both say that they are active: whether it is this node that steps back.

    The lower epoch does. At the same epoch the node to which it was granted stays; when it was granted to neither (or
    to an earlier life), the higher name steps back, at once, and the lower one only if the twin goes on: then the
    twin has the grant.
    """
    me, settings = view.me, view.settings
    if beat.epoch != me.epoch:
        return beat.epoch > me.epoch
    if view.hold.granted == me.epoch and me.epoch > 0:
        return False
    return settings.node > settings.twin or (me.epoch > 0 and view.twin.overlap > 5)
