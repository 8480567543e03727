"""A small world for the core: two nodes with clocks of their own, a witness, links that delay, lose, double, reorder.

Time is simulated, in true ns. After every event the rules are checked that must hold whatever happens (see ``_check``).
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from failover.core import types as core
from failover.core.step import finished, initial, next_wake_ns, step
from tests.failover.core.parts import FIT, MS, Answer, Asked, BrokenRule, Held, LeaseService, Life, Link, TinyWitness

NODES = ("a", "b")
WITNESS = "w"


class Node:
    """The shell of a core, with a clock that runs ``ppm`` fast."""

    def __init__(self, world: World, name: str, settings: core.Settings, ppm: float) -> None:
        self.world, self.name, self.settings, self.ppm = world, name, settings, ppm
        self.offset_ns = world.rng.randrange(1, 10**13)
        self.sessions = 0
        self.kept = 0  # the epoch on this node's disk, as the next start finds it
        self.life: Life | None = None
        self.health = FIT
        self.cursors: tuple[core.CameraCursor, ...] = ()
        self.stalled_until_ns = 0
        self.wake = 0
        self.gate: core.Gate | None = None
        self.gate_until_ns = 0

    def local(self, true_ns: int) -> int:
        return self.offset_ns + true_ns + int(true_ns * self.ppm) // 1_000_000

    def true(self, local_ns: int) -> int:
        passed_ns = local_ns - self.offset_ns
        return int(passed_ns / (1 + self.ppm / 1e6)) + 1

    @property
    def role(self) -> core.Role | None:
        return self.life.state.me.role if self.life else None

    def start(self, *, reboot: bool = False) -> None:
        if self.life is not None:
            return
        if reboot:
            self.offset_ns = -self.world.now_ns + self.world.rng.randrange(1, 50 * MS)
        self.sessions += 1
        now_ns = self.local(self.world.now_ns)
        self.life = Life(self.sessions, initial(self.settings, now_ns, self.kept))
        self.stalled_until_ns = 0
        self.feed(core.Pipeline(self.health, self.cursors))

    def kill(self) -> None:
        self.life = None
        self.gate = None
        self.world.held.pop(self.name, None)

    def stall(self, for_ns: int) -> None:
        self.stalled_until_ns = max(self.stalled_until_ns, self.world.now_ns + for_ns)
        life = self.life
        self.world.at(self.stalled_until_ns, lambda: self._awake(life))

    def _awake(self, life: Life | None) -> None:
        if life is None or life is not self.life or self.world.now_ns < self.stalled_until_ns:
            return
        mail, life.inbox = life.inbox, []
        if self.world.rng.random() < 0.5:
            self.feed(core.Tick())
        for one in mail:
            if self.life is life:
                one()
        self.feed(core.Tick())

    def receive(self, handle: Callable[[Life], core.Event | list[core.Event] | None]) -> None:
        life = self.life
        if life is None:
            return

        def take() -> None:
            if self.life is not life:
                return
            events = handle(life)
            for event in events if isinstance(events, list) else [events]:
                if event is not None:
                    self.feed(event)

        if self.world.now_ns < self.stalled_until_ns:
            life.inbox.append(take)
        else:
            take()

    def set_health(self, health: core.Health) -> None:
        self.health = health
        self.receive(lambda _life: core.Pipeline(health, self.cursors))

    def command(self, what: Any) -> None:
        self.receive(lambda _life: core.Command(what))

    def feed(self, event: core.Event) -> None:
        life = self.life
        if life is None:
            return
        now_ns = self.local(self.world.now_ns)
        before = life.state.me.epoch
        life.state, actions = self.world.step(life.state, event, now_ns)
        if life.state.me.epoch < before:
            raise BrokenRule(f"seed {self.world.seed}, {self.name}: its epoch falls from {before}")
        self.world.steps += 1
        for action in actions:
            self._do(life, action, now_ns)
        self.world.check(self)
        if finished(life.state):
            self.world.finished.append(self.name)
            self.kill()
            return
        self._plan(life, now_ns)

    def _plan(self, life: Life, now_ns: int) -> None:
        self.wake += 1
        mine = self.wake
        due_ns = next_wake_ns(life.state)
        if due_ns <= now_ns:
            self.world.busy += 1
        true_ns = max(self.true(due_ns), self.world.now_ns) + self.world.rng.randrange(1, MS // 5)

        def tick() -> None:
            if self.wake == mine and self.life is life and self.world.now_ns >= self.stalled_until_ns:
                self.feed(core.Tick())

        self.world.at(true_ns, tick)

    def _do(self, life: Life, action: core.Action, now_ns: int) -> None:
        world = self.world
        world.said.append((world.now_ns, self.name, action)) if not isinstance(action, core.SendBeat) else None
        if isinstance(action, core.SendBeat):
            self._send_beat(life, action.beat)
        elif isinstance(action, core.AskWitness):
            self._ask(life, action, now_ns)
        elif isinstance(action, core.Gate):
            self.gate, self.gate_until_ns = action, self.true(action.until_ns)
        elif isinstance(action, core.Exclusive):
            world.exclusive(Held(self.name, life.session, action.epoch, self.true(action.until_ns)), hold=action.hold)
        elif isinstance(action, core.Note):
            world.notes[self.name, action.code] += 1

    def _send_beat(self, life: Life, beat: core.Beat) -> None:
        world, session, gave = self.world, life.session, life.gave
        other = world.nodes[self.settings.twin]

        def arrive(there: Life) -> list[core.Event] | None:
            if session < there.twin_session:
                return None
            restarted = session > there.twin_session
            known = there.twin_session > 0
            if restarted:
                there.twin_session, there.twin_numbers = session, set()
            if beat.number in there.twin_numbers:
                return None
            there.twin_numbers.add(beat.number)
            there.given = (gave, session) if gave else there.given
            return [*([core.TwinRestarted()] if restarted and known else []), core.BeatHeard(beat)]

        for _path in range(2):
            world.send(self.name, other.name, lambda: other.receive(arrive))

    def _ask(self, life: Life, ask: core.AskWitness, now_ns: int) -> None:
        world, session = self.world, life.session
        life.asked += 1
        request = life.asked
        if ask.what == "release":
            life.gave = max(life.gave, ask.epoch)  # as the wire does: the twin may show it to the witness
        asked = Asked(self.name, session, ask, life.given if ask.what == "claim" else (0, 0))

        def answer(granted: bool, epoch: int, holder: str, time_ns: int) -> None:
            def take(here: Life) -> core.Event | None:
                if here.session != session:
                    return None
                if granted:
                    return core.Granted(epoch, now_ns, time_ns) if ask.what == "claim" else None
                return core.Denied(epoch, holder, time_ns, now_ns if world.tells_when else 0)

            world.send(WITNESS, self.name, lambda: self.receive(take))

        world.send(self.name, WITNESS, lambda: world.ask_witness(asked, request, answer))


class World:
    """Two nodes and a witness. ``ordered``: the way to the witness drops what was overtaken, as the real one does."""

    def __init__(
        self, seed: int, a: core.Settings, b: core.Settings, *, ordered: bool = True, tells_when: bool = True
    ) -> None:
        self.rng = random.Random(seed)
        self.seed, self.ordered, self.tells_when = seed, ordered, tells_when
        self.now_ns = 0
        self.steps = self.busy = 0
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._count = 0
        self.links = {(s, d): Link() for s in (*NODES, WITNESS) for d in (*NODES, WITNESS) if s != d}
        self.held: dict[str, Held] = {}
        self.last_held: Held | None = None
        self.notes: Counter[tuple[str, str]] = Counter()
        self.said: list[tuple[int, str, core.Action]] = []
        self.finished: list[str] = []
        self.faults: list[Any] = []
        self._plans = 0
        self.step = step  # a test may put a broken one here
        self.lease_ns = max(a.lease_ns, b.lease_ns)
        self.witness_ppm = self.rng.uniform(-50, 50)
        self.file: list[int] = []
        self.witness: LeaseService | None = None
        self._requests: dict[tuple[str, int], int] = {}
        self.make_witness: Callable[[World], LeaseService] = _tiny
        self.nodes = {
            "a": Node(self, "a", replace(a, node="a", twin="b"), self.rng.uniform(-50, 50)),
            "b": Node(self, "b", replace(b, node="b", twin="a"), self.rng.uniform(-50, 50)),
        }

    # --- time ---

    def at(self, true_ns: int, do: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._heap, (max(true_ns, self.now_ns), self._count, do))

    def drop_plans(self) -> None:
        """Forget what was to go wrong, or to be mended, later; messages and wakes stay."""
        self._plans += 1

    def plan(self, true_ns: int, do: Callable[[], None]) -> None:
        """As :meth:`at`, for what :meth:`drop_plans` forgets."""
        mine = self._plans
        self.at(true_ns, lambda: do() if self._plans == mine else None)

    def run(self, for_ns: int) -> None:
        end_ns = self.now_ns + for_ns
        while self._heap and self._heap[0][0] <= end_ns:
            self.now_ns, _, do = heapq.heappop(self._heap)
            do()
        self.now_ns = end_ns

    def run_until(self, met: Callable[[], bool], at_most_ns: int) -> int:
        """Run until it is met; return how long that took. Raises AssertionError when it never is."""
        begin_ns = self.now_ns
        while not met():
            assert self._heap, "nothing happens any more"
            assert self._heap[0][0] - begin_ns <= at_most_ns, f"seed {self.seed}: not met in {at_most_ns / MS} ms"
            self.now_ns, _, do = heapq.heappop(self._heap)
            do()
        return self.now_ns - begin_ns

    # --- links and witness ---

    def send(self, source: str, to: str, arrive: Callable[[], None]) -> None:
        link = self.links[source, to]
        copies = 2 if link.double and self.rng.random() < link.double else 1
        for _ in range(copies):
            if not link.up or (link.loss and self.rng.random() < link.loss):
                continue
            self.at(self.now_ns + link.delay_ns + self.rng.randrange(link.jitter_ns + 1), arrive)

    def cut(self, node: str) -> None:
        for (source, to), link in self.links.items():
            if node in (source, to):
                link.up = False

    def heal(self) -> None:
        self.links = {key: Link() for key in self.links}

    def witness_ns(self) -> int:
        return self.now_ns + int(self.now_ns * self.witness_ppm) // 1_000_000 + 7_000_000_000

    def start_witness(self) -> None:
        if self.witness is None:
            self._requests = {}
            self.witness = self.make_witness(self)

    def stop_witness(self) -> None:
        self.witness = None

    def ask_witness(self, asked: Asked, request: int, answer: Answer) -> None:
        if self.witness is None:
            return
        if self.ordered and request <= self._requests.get((asked.node, asked.session), 0):
            return
        self._requests[asked.node, asked.session] = request
        self.witness.ask(asked, self.witness_ns(), answer)

    # --- the rules ---

    def exclusive(self, held: Held, *, hold: bool) -> None:
        """Take note of what a node was told about the exclusive things; the rule of rules is checked here."""
        if not hold:
            self.held.pop(held.node, None)
            return
        self.held[held.node] = held
        for other in self.held.values():
            if other.node != held.node and min(other.until_ns, held.until_ns) > self.now_ns:
                raise BrokenRule(f"seed {self.seed} at {self.now_ns / MS:.3f} ms: {held} beside {other}")
        last = self.last_held
        if last is not None and (last.node, last.session) != (held.node, held.session) and held.epoch <= last.epoch:
            raise BrokenRule(f"seed {self.seed} at {self.now_ns / MS:.3f} ms: {held} after {last}")
        if last is not None and held.epoch < last.epoch:
            raise BrokenRule(f"seed {self.seed} at {self.now_ns / MS:.3f} ms: {held} after {last}")
        self.last_held = held

    def check(self, node: Node) -> None:
        """What a node says of itself after a step must agree with itself."""
        assert node.life is not None
        state, where = node.life.state, f"seed {self.seed} at {self.now_ns / MS:.3f} ms, {node.name}"
        if state.hold.holding and state.me.role is not core.Role.ACTIVE:
            raise BrokenRule(f"{where}: a standby holds")
        held = self.held.get(node.name)
        if state.hold.holding != (held is not None):
            raise BrokenRule(f"{where}: what it holds is not what it said")
        if node.gate is None or (node.gate.open and node.gate.role is not core.Role.ACTIVE):
            raise BrokenRule(f"{where}: the gate is open at a standby")
        if state.hold.holding and node.local(self.now_ns) >= state.hold.until_ns:
            raise BrokenRule(f"{where}: it holds what has run out")
        alone = node.settings.without_witness == "nothing" and state.me.handing is None
        if alone and node.gate.open and node.gate_until_ns > (held.until_ns if held else 0) + 1_000:
            raise BrokenRule(f"{where}: the gate is open without a hold")
        if len(state.talk.sent) > 64 or len(state.twin.suspicion.gaps_ns) > 100:
            raise BrokenRule(f"{where}: the state grows")
        if self.busy > 50 + self.steps // 20:
            raise BrokenRule(f"{where}: it asks to be woken at once, again and again")

    # --- what tests ask ---

    def active(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.role is core.Role.ACTIVE]

    def holders(self) -> list[str]:
        return [name for name, held in self.held.items() if held.until_ns > self.now_ns]

    def open_gates(self) -> list[str]:
        return [
            name
            for name, node in self.nodes.items()
            if node.gate is not None and node.gate.open and node.gate_until_ns > self.now_ns
        ]

    def changes(self, name: str | None = None) -> list[core.Changed]:
        return [one for _, who, one in self.said if isinstance(one, core.Changed) and name in (None, who)]


def _tiny(world: World) -> LeaseService:
    opens_ns = world.witness_ns() + (world.lease_ns if world.file else 0)
    return TinyWitness(world.lease_ns, world.file, opens_ns)


def pair(
    seed: int = 1,
    a: core.Settings | None = None,
    b: core.Settings | None = None,
    change: Callable[[World], None] = lambda world: None,
) -> World:
    """Two nodes that started, a witness that answers; nobody is active yet. ``change`` comes before they start."""
    plain = core.Settings("a", "b")
    world = World(seed, a or replace(plain, preferred=True), b or plain)
    change(world)
    world.start_witness()
    for node in world.nodes.values():
        node.start()
    return world


def running(
    seed: int = 1,
    a: core.Settings | None = None,
    b: core.Settings | None = None,
    change: Callable[[World], None] = lambda world: None,
) -> World:
    """The same, two seconds and a bit later: ``a`` is active, ``b`` stands by."""
    world = pair(seed, a, b, change)
    world.run(2_000 * MS + world.rng.randrange(40 * MS))
    assert world.active() == ["a"], world.active()
    assert world.holders() == ["a"]
    return world
