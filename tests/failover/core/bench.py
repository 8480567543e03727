"""One core on a bench: a test plays twin, witness and people, and reads what the core says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

from failover.core import types as core
from failover.core.step import State, describe, initial, next_wake_ns, step
from tests.failover.core import parts
from tests.failover.core.parts import MS

BEGIN_NS = 1_000_000 * MS
FIT = replace(parts.FIT, rack_ok=True)
_A = TypeVar("_A")


class Bench:
    """Node ``a``, whose twin ``b`` and whose witness do what is said here; time moves in steps of 5 ms at most."""

    def __init__(self, **settings: Any) -> None:
        self.settings = core.Settings("a", "b", **settings)
        self.now_ns = BEGIN_NS
        self.state: State = initial(self.settings, self.now_ns)
        self.said: list[core.Action] = []  # since the last look
        self.history: list[tuple[int, core.Action]] = []
        self.twin = core.Beat(0, core.Role.STANDBY, 0, FIT)  # what the twin goes on saying, every beat, while it speaks
        self.speaks = False
        self.twin_next_ns = 0
        self.holder: str | None = None  # None: the witness is dead; "": free; else who holds the lease
        self.epoch = 0
        self.lease_ns = self.settings.lease_ns  # that the witness grants

    # --- time ---

    def feed(self, event: core.Event, late_ns: int = 0) -> list[core.Action]:
        self.now_ns += late_ns
        self.state, actions = step(self.state, event, self.now_ns)
        self.said += actions
        self.history += [(self.now_ns, action) for action in actions]
        for action in actions:
            if isinstance(action, core.AskWitness):
                self._witness(action)
        return list(actions)

    def run(self, ms: float) -> None:
        """Let time pass: ticks as the core asks for them, the twin's beats, the witness's answers at once."""
        end_ns = self.now_ns + int(ms * MS)
        while self.now_ns < end_ns:
            due_ns = min(end_ns, max(next_wake_ns(self.state), self.now_ns + 1))
            if self.speaks:
                due_ns = min(due_ns, max(self.twin_next_ns, self.now_ns + 1))
            self.now_ns = due_ns
            if self.speaks and self.now_ns >= self.twin_next_ns:
                self.hear()
            self.feed(core.Tick())

    # --- the twin ---

    def hear(self, **change: Any) -> list[core.Action]:
        """One beat of the twin, now."""
        beat = replace(self.twin, **{"number": self.twin.number + 1, "seen": self.state.talk.number, **change})
        self.twin, self.speaks = beat, True
        self.twin_next_ns = self.now_ns + self.settings.beat_ns
        return self.feed(core.BeatHeard(beat))

    def silence(self) -> None:
        """The twin stops; what it said last is remembered, for when it comes back."""
        self.speaks = False

    # --- the witness ---

    def _witness(self, ask: core.AskWitness) -> None:
        if self.holder is None:
            return
        if ask.what == "claim" and self.holder in ("", "a"):
            if self.holder == "":
                self.epoch, self.holder = max(self.epoch, ask.epoch) + 1, "a"
            self.feed(core.Granted(self.epoch, self.now_ns, self.lease_ns))
            return
        if ask.what == "release" and self.holder == "a":
            self.holder = ""
        self.feed(core.Denied(self.epoch, self.holder, 50 * MS if self.holder else 0, self.now_ns))

    # --- what it said ---

    def look(self, kind: type[_A]) -> list[_A]:
        """What of this kind was said since the last :meth:`clear`."""
        return [action for action in self.said if isinstance(action, kind)]

    def clear(self) -> None:
        self.said.clear()

    def notes(self) -> list[str]:
        return [note.code for note in self.look(core.Note)]

    def changes(self) -> list[core.Changed]:
        return self.look(core.Changed)

    def beats(self) -> list[core.Beat]:
        return [sent.beat for sent in self.look(core.SendBeat)]

    def asked(self) -> list[str]:
        return [ask.what for ask in self.look(core.AskWitness)]

    def role(self) -> core.Role:
        return self.state.me.role

    def gate(self) -> core.Gate:
        gate = self.state.talk.gate
        assert gate is not None
        return gate

    def exclusive(self) -> bool:
        said = self.state.talk.exclusive
        return said is not None and said.hold and said.until_ns > self.now_ns

    def describe(self) -> dict[str, Any]:
        return describe(self.state, self.now_ns)


def starting(**settings: Any) -> Bench:
    """A fit node that has just started; the witness is there, the twin is not."""
    bench = Bench(**settings)
    bench.holder = ""
    bench.feed(core.Pipeline(FIT, (core.CameraCursor(0, 1_000),)))
    return bench


def standing_by(**settings: Any) -> Bench:
    """A fit standby, its twin active under epoch 5 and renewing its lease."""
    bench = starting(**settings)
    bench.holder, bench.epoch = "b", 5
    bench.hear(role=core.Role.ACTIVE, epoch=5)
    bench.run(1_500)
    assert bench.role() is core.Role.STANDBY
    bench.clear()
    return bench


def active(**settings: Any) -> Bench:
    """A fit active node with its lease under epoch 1, its twin a fit standby that promises nothing."""
    bench = starting(**settings)
    bench.hear()
    bench.run(2_000)
    assert bench.role() is core.Role.ACTIVE and bench.exclusive()
    bench.clear()
    return bench


def begin_drill(bench: Bench) -> None:
    bench.feed(core.Command("drill-begin"))
