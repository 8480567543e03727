"""Random lives of a pair: what is set, what goes wrong and when; at the end all is well again for three seconds."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from failover.core.types import Health, Settings
from tests.failover.core.parts import FIT, MS, Link
from tests.failover.core.world import NODES, WITNESS, Node, World

Start = Literal["auto", "active", "standby"]
SLOW = Settings(  # as failover.service.settings makes them of the asked mode
    "a",
    "b",
    beat_ns=200 * MS,
    silence_ns=600 * MS,
    lease_ns=600 * MS,
    renew_ns=120 * MS,
    claim_ns=30 * MS,
    witness_lost_ns=420 * MS,
)
HASTY = Settings("a", "b", beat_ns=5 * MS, silence_ns=15 * MS, lease_ns=30 * MS, renew_ns=5 * MS)
STARTS: tuple[tuple[Start, Start], ...] = (
    ("auto", "auto"),
    ("auto", "standby"),
    ("active", "active"),
    ("active", "standby"),
)
HEALTHS = (
    Health(),
    replace(FIT, cameras=1),
    replace(FIT, cameras=0),
    replace(FIT, hot=True),
    replace(FIT, clock_ok=False),
    replace(FIT, publishing=False),
    FIT,
)


def random_settings(rng: random.Random) -> tuple[Settings, Settings]:
    """Two that agree in what must agree."""
    common = rng.choices((Settings("a", "b"), SLOW, HASTY), (8, 2, 1))[0]
    common = replace(
        common,
        without_witness=rng.choice(("records", "records", "nothing")),
        grace_ns=rng.choice((300, 1_000)) * MS,
        fail_back=rng.random() < 0.2,
        fail_back_after_ns=rng.choice((1_000, 3_000)) * MS,
    )
    starts = rng.choice(STARTS)
    return (
        replace(common, node="a", twin="b", preferred=rng.random() < 0.7, start=starts[0]),
        replace(common, node="b", twin="a", start=starts[1]),
    )


@dataclass(frozen=True)
class Fault:
    """When, what, for people who read a seed; ``do`` does it."""

    at_ns: int
    what: str
    do: Callable[[World], None]


PROFILES = {
    "mixed": (5, 3, 4, 4, 3, 2, 2, 2),
    "rackless": (3, 5, 1, 4, 8, 1, 1, 1),  # the witness is away often, so promises are what holds
    "handovers": (2, 1, 2, 6, 1, 1, 9, 1),
    "restarts": (2, 9, 2, 4, 2, 0, 2, 1),
    "stalls": (9, 1, 2, 4, 2, 0, 2, 2),
}


def random_faults(rng: random.Random, over_ns: int, count: int) -> list[Fault]:
    makers = (_stall, _kill, _cut, _bad_link, _witness, _health, _command, _isolate)
    chosen = rng.choices(makers, PROFILES[rng.choice(list(PROFILES))], k=count)
    return sorted((maker(rng, rng.randrange(over_ns)) for maker in chosen), key=lambda fault: fault.at_ns)


def _length(rng: random.Random) -> int:
    """A length that hits the interesting times: around a beat, the silence, the lease, and seconds."""
    return int(rng.choice((5, 15, 30, 60, 90, 110, 150, 300, 700, 2_000)) * MS * rng.uniform(0.7, 1.3))


def _node(world: World, name: str) -> Node:
    return world.nodes[name]


def _stall(rng: random.Random, at_ns: int) -> Fault:
    name, length_ns = rng.choice(NODES), _length(rng)
    return Fault(at_ns, f"{name} stalls {length_ns / MS:.0f} ms", lambda w: _node(w, name).stall(length_ns))


def _kill(rng: random.Random, at_ns: int) -> Fault:
    name, length_ns, reboot = rng.choice(NODES), _length(rng), rng.random() < 0.3

    def do(world: World) -> None:
        node = _node(world, name)
        node.kill()
        world.plan(world.now_ns + length_ns, lambda: node.start(reboot=reboot and length_ns > 300 * MS))

    return Fault(at_ns, f"{name} is killed, back in {length_ns / MS:.0f} ms", do)


def _cut(rng: random.Random, at_ns: int) -> Fault:
    source, to = rng.sample((*NODES, WITNESS), 2)
    length_ns, both = _length(rng), rng.random() < 0.5

    def put(world: World, up: bool) -> None:
        world.links[source, to].up = up
        if both:
            world.links[to, source].up = up

    def do(world: World) -> None:
        put(world, False)
        world.plan(world.now_ns + length_ns, lambda: put(world, True))

    arrow = "<->" if both else "->"
    return Fault(at_ns, f"{source} {arrow} {to} cut for {length_ns / MS:.0f} ms", do)


def _isolate(rng: random.Random, at_ns: int) -> Fault:
    name, length_ns = rng.choice(NODES), _length(rng)

    def do(world: World) -> None:
        world.cut(name)
        world.plan(world.now_ns + length_ns, world.heal)

    return Fault(at_ns, f"{name} is cut off for {length_ns / MS:.0f} ms", do)


def _bad_link(rng: random.Random, at_ns: int) -> Fault:
    source, to = rng.sample((*NODES, WITNESS), 2)
    bad = Link(
        delay_ns=rng.choice((0, 1, 10, 50, 200)) * MS + MS // 10,
        jitter_ns=rng.choice((0, 3, 30, 120)) * MS,
        loss=rng.choice((0.0, 0.05, 0.3, 0.7)),
        double=rng.choice((0.0, 0.3)),
    )
    length_ns = _length(rng)

    def do(world: World) -> None:
        world.links[source, to] = replace(bad, up=world.links[source, to].up)
        world.plan(world.now_ns + length_ns, lambda: world.links.__setitem__((source, to), Link()))

    return Fault(at_ns, f"{source} -> {to} is {bad} for {length_ns / MS:.0f} ms", do)


def _witness(rng: random.Random, at_ns: int) -> Fault:
    length_ns = _length(rng)

    def do(world: World) -> None:
        world.stop_witness()
        world.plan(world.now_ns + length_ns, world.start_witness)

    return Fault(at_ns, f"no witness for {length_ns / MS:.0f} ms", do)


def _health(rng: random.Random, at_ns: int) -> Fault:
    name, health = rng.choice(NODES), rng.choice(HEALTHS)
    return Fault(at_ns, f"{name} says {health}", lambda w: _node(w, name).set_health(health))


def _command(rng: random.Random, at_ns: int) -> Fault:
    name, what = rng.choice(NODES), rng.choice(("handover", "handover", "stop", "drill-begin", "drill-end"))

    def do(world: World) -> None:
        _node(world, name).command(what)
        if what == "stop":
            world.plan(world.now_ns + 400 * MS, lambda: _node(world, name).start())

    return Fault(at_ns, f"{name}: {what}", do)


def live(seed: int, change: Callable[[World], None] = lambda world: None) -> World:
    """One random life; raises BrokenRule where a rule breaks, AssertionError where the pair does not come to rest.

    ``change`` may put another witness or another core in before it begins.
    """
    rng = random.Random(seed * 7919 + 1)
    a, b = random_settings(rng)
    world = World(seed, a, b, ordered=rng.random() < 0.6, tells_when=rng.random() < 0.7)
    change(world)
    if rng.random() < 0.9:
        world.start_witness()
    for node in world.nodes.values():
        world.plan(rng.randrange(400 * MS), node.start)
    over_ns = rng.choice((1_500, 3_000)) * MS
    if rng.random() < 0.3:  # slow everywhere and always: answers and promises come late and out of order
        slow = Link(delay_ns=rng.choice((1, 10, 30)) * MS, jitter_ns=rng.choice((5, 20, 60)) * MS)
        world.links = {key: replace(slow) for key in world.links}
    faults = random_faults(rng, over_ns, rng.choice((1, 2, 4, 8, 16)))
    for fault in faults:
        world.plan(fault.at_ns + 300 * MS, lambda fault=fault: fault.do(world))  # type: ignore[misc]
    world.faults = faults
    world.run(over_ns + 400 * MS)
    _make_well(world)
    world.run(3_000 * MS)
    _at_rest(world)
    return world


def _make_well(world: World) -> None:
    world.drop_plans()
    world.heal()
    world.start_witness()
    for node in world.nodes.values():
        node.stalled_until_ns = min(node.stalled_until_ns, world.now_ns)
        if node.life is None:
            node.start()
        node.stall(0)
        world.at(world.now_ns + 1, lambda node=node: node.set_health(FIT))  # type: ignore[misc]


def _at_rest(world: World) -> None:
    active, holders, gates = world.active(), world.holders(), world.open_gates()
    told = "\n".join(f"  {fault.at_ns / MS:.0f} ms: {fault.what}" for fault in world.faults)
    assert len(active) == 1 and holders == active and gates == active, (
        f"seed {world.seed}: active {active}, holding {holders}, open {gates}\n{told}"
    )
