"""The lease table: who holds the lease of each pair. Pure: ``now_ns`` is an argument, epochs come from a port.

1. A lease is a node's in one session, for a time counted from our answer; the node counts from its question, so its own
   end comes first.
2. Another holder, or the same node in another session, gets it only when the lease has run out or was given back, and
   with a new epoch, higher than every one that we gave or that a node has told us of. It may be given back through the
   twin too, who shows its holder's own word (a tag of the channel between holder and us, over pair and epoch): an epoch
   is one holder's, and it never takes it up again, so the word is true however late it comes.
3. A claim that cannot be granted is denied at once and waits: it is granted at the moment the lease runs out, unless it
   is older than 60 ms then (or half the lease it asked for), or its node has asked for something else since.
4. A new process grants nothing before the longest lease that its predecessor may have given is over.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from failover.core.types import MAX_TOLD_EPOCH, NS_PER_MS
from failover.wire.beats import Ask, Denial, Grant, Reason
from touchline.units import ms

MAX_PAIRS: Final = 64
WAIT_NS: Final = 60 * NS_PER_MS  # a claim so old is no longer granted by itself
MIN_LEASE_NS: Final = 10 * NS_PER_MS
NOT_LISTED_WAIT_NS: Final = 1_000 * NS_PER_MS
RETRY_NS: Final = 20 * NS_PER_MS  # until an epoch is asked for again after the disk had none ready


class Epochs(Protocol):
    """Where new epochs come from."""

    def take(self, above: int) -> int | None:
        """An epoch above ``above`` that never was given and never will be again; None: not confirmed on disk yet."""
        ...


@dataclass(frozen=True, slots=True)
class Holder:
    """A node in one session."""

    node: str
    session: bytes


Gave = Callable[[Holder, Ask], bool]  # whether the word that a claim shows is this holder's own


@dataclass(frozen=True, slots=True)
class Change:
    """A lease changed hands: to ``node`` ("" to nobody), from ``before``."""

    pair: str
    epoch: int
    node: str
    before: str
    why: Literal["claimed", "waited for", "given back", "given back to the twin", "ran out"]


@dataclass(frozen=True, slots=True)
class _Claim:
    who: Holder
    ask: Ask
    lease_ns: int
    at_ns: int
    until_ns: int


@dataclass(slots=True)
class _Pair:
    epoch: int = 0  # of the last lease
    told: int = 0  # the highest that a node knows of
    holder: Holder | None = None
    until_ns: int = 0
    used_ns: int = 0
    over: bool = True  # the end of the last lease has been told
    waiting: dict[str, _Claim] = field(default_factory=dict)

    def free(self, now_ns: int) -> bool:
        return self.holder is None or now_ns >= self.until_ns


class LeaseTable:
    """All pairs of one witness.

    Args:
        epochs: where new epochs come from.
        quarantine_until_ns: nothing is granted before.
        lease_limit_ns: the longest lease that is granted.
        gave: whether the word of giving back that a claim shows was made by the lease's holder.
        pairs: the nodes of each pair; empty: any node may claim for any pair.
    """

    def __init__(
        self,
        epochs: Epochs,
        quarantine_until_ns: int,
        lease_limit_ns: int,
        gave: Gave,
        pairs: Mapping[str, list[str]] | None = None,
    ) -> None:
        self._epochs, self._limit_ns, self._listed = epochs, lease_limit_ns, dict(pairs or {})
        self._gave = gave
        self.unproven = 0  # words of giving back that were not their holder's
        self._quarantine_ns = quarantine_until_ns
        self._pairs: dict[str, _Pair] = {}
        self._changes: list[Change] = []
        self._retry_ns: int | None = None

    def ask(self, ask: Ask, session: bytes, now_ns: int) -> Grant | Denial:
        """Answer a node, which is who it says it is."""
        who = Holder(ask.node, session)
        if self._listed and ask.node not in self._listed.get(ask.pair, ()):
            return Denial(ask.request, 0, "", NOT_LISTED_WAIT_NS, Reason.NOT_LISTED)
        pair = self._pairs.get(ask.pair) or self._make(ask.pair, now_ns)
        if pair is None:
            return Denial(ask.request, 0, "", NOT_LISTED_WAIT_NS, Reason.FULL)
        pair.used_ns = now_ns
        pair.waiting.pop(ask.node, None)
        if ask.epoch <= MAX_TOLD_EPOCH:
            pair.told = max(pair.told, ask.epoch)
        holder = pair.holder
        if ask.what == "claim":
            self._take_word(ask, pair)
            return self._claim(ask, who, pair, now_ns)
        if ask.what == "release" and holder == who and ask.epoch == pair.epoch:  # an overtaken one frees nothing
            self._changes.append(Change(ask.pair, pair.epoch, "", ask.node, "given back"))
            pair.holder, pair.over = None, True
        return self._denial(ask, pair, now_ns)

    def tick(self, now_ns: int) -> list[tuple[Holder, Grant]]:
        """Grant what has waited for a lease that is over now."""
        granted: list[tuple[Holder, Grant]] = []
        self._retry_ns = None
        for name, pair in self._pairs.items():
            if now_ns < self._quarantine_ns or not pair.free(now_ns):
                continue
            pair.waiting = {node: claim for node, claim in pair.waiting.items() if now_ns <= claim.until_ns}
            best = min(pair.waiting.values(), key=lambda claim: (-claim.ask.epoch, claim.at_ns), default=None)
            if best is not None:
                answer = self._grant(name, best, pair, now_ns, "waited for")
                if isinstance(answer, Grant):
                    del pair.waiting[best.who.node]
                    granted.append((best.who, answer))
            if pair.free(now_ns) and not pair.over and pair.holder is not None:
                self._changes.append(Change(name, pair.epoch, "", pair.holder.node, "ran out"))
                pair.over = True
        return granted

    def next_ns(self) -> int | None:
        """When :meth:`tick` has something to do next; None: not before somebody asks."""
        if self._retry_ns is not None:
            return self._retry_ns
        times = [
            max(pair.until_ns if pair.holder else 0, self._quarantine_ns)
            for pair in self._pairs.values()
            if pair.waiting or not pair.over
        ]
        return min(times, default=None)

    def changes(self) -> list[Change]:
        """What changed hands since the last call."""
        found, self._changes = self._changes, []
        return found

    def document(self, now_ns: int) -> list[dict[str, Any]]:
        """The table as plain data; times in ms."""
        return [
            {
                "pair": name,
                "epoch": pair.epoch,
                "holder": pair.holder.node if pair.holder and not pair.free(now_ns) else "",
                "left_ms": 0.0 if pair.free(now_ns) else ms(pair.until_ns - now_ns),
                "last_holder": pair.holder.node if pair.holder else "",
                "waiting": sorted(pair.waiting),
                "asked_ms_ago": ms(now_ns - pair.used_ns),
            }
            for name, pair in sorted(self._pairs.items())
        ]

    def quarantine_left_ns(self, now_ns: int) -> int:
        """How long nothing will be granted yet."""
        return max(0, self._quarantine_ns - now_ns)

    # --- what the rules say -------------------------------------------------------------------------------------

    def _take_word(self, ask: Ask, pair: _Pair) -> None:
        """The holder's word that it gave this lease back, shown by its twin; anything else frees nothing."""
        holder = pair.holder
        if holder is None or holder.node == ask.node or not 0 < ask.given == pair.epoch:
            return
        if not self._gave(holder, ask):
            self.unproven += 1
            return
        self._changes.append(Change(ask.pair, pair.epoch, "", holder.node, "given back to the twin"))
        pair.holder, pair.over = None, True

    def _claim(self, ask: Ask, who: Holder, pair: _Pair, now_ns: int) -> Grant | Denial:
        lease_ns = min(max(ask.lease_ns, MIN_LEASE_NS), self._limit_ns)
        claim = _Claim(who, ask, lease_ns, now_ns, now_ns + min(WAIT_NS, lease_ns // 2))
        if now_ns >= self._quarantine_ns and (pair.holder == who or pair.free(now_ns)):
            answer = self._grant(ask.pair, claim, pair, now_ns, "claimed")
        else:
            answer = self._denial(ask, pair, now_ns)
        if isinstance(answer, Denial):
            pair.waiting[ask.node] = claim
        return answer

    def _grant(
        self, name: str, claim: _Claim, pair: _Pair, now_ns: int, why: Literal["claimed", "waited for"]
    ) -> Grant | Denial:
        """Give or renew a lease that may be given; denied only for want of an epoch."""
        request, before, was_over = claim.ask.request, pair.holder, pair.over
        renewed = before == claim.who and not pair.free(now_ns)
        if before != claim.who or pair.told > pair.epoch:
            epoch = self._epochs.take(max(pair.told, pair.epoch))
            if epoch is not None:
                pair.epoch = pair.told = epoch
                pair.holder = claim.who
                was_over = True
            elif not renewed:  # what runs may go on under the epoch that it has
                self._retry_ns = now_ns + RETRY_NS
                return Denial(request, max(pair.told, pair.epoch), "", RETRY_NS, Reason.NO_EPOCH)
        if was_over:
            self._changes.append(Change(name, pair.epoch, claim.who.node, before.node if before else "", why))
        until_ns = now_ns + claim.lease_ns
        pair.until_ns = max(until_ns, pair.until_ns) if renewed else until_ns  # a longer one may be counted on there
        pair.over = False
        return Grant(request, pair.epoch, claim.lease_ns)

    def _denial(self, ask: Ask, pair: _Pair, now_ns: int) -> Denial:
        epoch = max(pair.told, pair.epoch)
        if now_ns < self._quarantine_ns:
            return Denial(ask.request, epoch, "", self._quarantine_ns - now_ns, Reason.QUARANTINE)
        if pair.holder is None or pair.free(now_ns):
            return Denial(ask.request, epoch, "", 0, Reason.FREE)
        return Denial(ask.request, epoch, pair.holder.node, pair.until_ns - now_ns, Reason.HELD)

    def _make(self, name: str, now_ns: int) -> _Pair | None:
        if len(self._pairs) >= MAX_PAIRS:
            free = [(pair.used_ns, one) for one, pair in self._pairs.items() if pair.free(now_ns) and not pair.waiting]
            if not free:
                return None
            del self._pairs[min(free)[1]]
        made = self._pairs[name] = _Pair(used_ns=now_ns)
        return made
