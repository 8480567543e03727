"""Whole lives of a pair in a simulated world: what must never be, never is, and the checks are shown to have teeth."""

import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from failover.core.step import step
from failover.core.types import Granted, Settings
from tests.failover.core.campaign import live
from tests.failover.core.parts import MS, Asked, BrokenRule, TinyWitness
from tests.failover.core.rack import RealWitness
from tests.failover.core.world import World, running

CAMPAIGN = bool(os.environ.get("TOUCHLINE_CAMPAIGN"))
SAMPLE = 200
LIVES = 20_000
CHUNKS = 10


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_a_sample_of_random_lives(chunk):
    for seed in range(chunk, SAMPLE, CHUNKS):
        live(seed)


@pytest.mark.parametrize("chunk", range(4))
def test_a_sample_of_random_lives_with_the_real_witness(chunk):
    for seed in range(SAMPLE + chunk, SAMPLE + 60, 4):
        live(seed, _real)


@pytest.mark.campaign
@pytest.mark.timeout(7_200)
@pytest.mark.skipif(not CAMPAIGN, reason=f"{LIVES} lives: TOUCHLINE_CAMPAIGN=1")
def test_many_random_lives():
    for seed in range(1_000, 1_000 + LIVES):
        live(seed, _real if seed % 3 == 0 else lambda world: None)


def _real(world: World) -> None:
    world.make_witness = RealWitness
    world.ordered = True  # the wire drops what was overtaken


# --- the checks can fail: each life below is safe, and is not with one rule taken out ---


def _forgets_its_promises(world: World) -> None:
    def broken(state, event, now_ns):
        return step(replace(state, hold=replace(state.hold, pledge_until_ns=0)), event, now_ns)

    world.step = broken


def _forgets_them_at_its_start(world: World) -> None:
    def broken(state, event, now_ns):
        if state.attention.started_ns == state.attention.stepped_ns:
            state = replace(state, hold=replace(state.hold, pledge_until_ns=0))
        return step(state, event, now_ns)

    world.step = broken


def _counts_leases_from_the_answer(world: World) -> None:
    def broken(state, event, now_ns):
        return step(state, replace(event, sent_ns=now_ns) if isinstance(event, Granted) else event, now_ns)

    world.step = broken


def _does_not_wait_at_the_rack(world: World) -> None:
    world.make_witness = lambda world: TinyWitness(world.lease_ns, world.file, 0)


def _held_by_a_promise(world: World) -> None:
    """The witness dies, ``a`` goes on by the promise of ``b``."""
    world.stop_witness()
    world.run(400 * MS)
    assert world.holders() == ["a"]


def _promise_outlasts_silence(world: World) -> None:
    _held_by_a_promise(world)
    world.start_witness()
    world.links["a", "b"].up = world.links["a", "w"].up = False
    world.run(900 * MS)


def _promise_outlasts_a_restart(world: World) -> None:
    _held_by_a_promise(world)
    world.cut("a")
    world.nodes["b"].kill()
    world.nodes["b"].settings = replace(world.nodes["b"].settings, start="active")
    world.start_witness()
    world.run(120 * MS)
    world.nodes["b"].start()
    world.run(900 * MS)


def _slow_answers(world: World) -> None:
    world.links["w", "a"].delay_ns = 50 * MS
    world.run(300 * MS)
    world.cut("a")
    world.links["w", "a"].up = True
    world.run(400 * MS)


def _witness_starts_anew(world: World) -> None:
    world.cut("a")
    world.stop_witness()
    world.run(65 * MS)
    world.start_witness()
    world.run(300 * MS)


def _frees_for_any_word_of_the_twin(world: World) -> None:
    class Credulous(TinyWitness):
        def judge(self, asked: Asked, now_ns: int) -> tuple[bool, int, str, int]:
            epoch = self.file[-1] if self.file else 0
            return super().judge(replace(asked, given=(epoch, self.session)) if asked.given[0] else asked, now_ns)

    def make(world: World) -> TinyWitness:
        return Credulous(world.lease_ns, world.file, world.witness_ns() + (world.lease_ns if world.file else 0))

    world.stop_witness()
    world.make_witness = make
    world.start_witness()
    world.run(300 * MS)


def _a_handover_that_the_twin_missed(world: World) -> None:
    """``b`` hears only afterwards that ``a`` gave its lease back, and ``a`` has another one since."""
    world.nodes["b"].stall(400 * MS)
    world.nodes["a"].command("handover")
    world.run(700 * MS)
    assert world.holders() == ["a"]
    world.cut("a")
    world.run(400 * MS)


TEETH = [
    (_promise_outlasts_silence, _forgets_its_promises),
    (_promise_outlasts_a_restart, _forgets_them_at_its_start),
    (_slow_answers, _counts_leases_from_the_answer),
    (_witness_starts_anew, _does_not_wait_at_the_rack),
    (_a_handover_that_the_twin_missed, _frees_for_any_word_of_the_twin),
]


@pytest.mark.parametrize(("life", "broken"), TEETH, ids=[broken.__name__[1:] for _, broken in TEETH])
def test_the_check_finds_a_core_or_a_witness_with_one_rule_taken_out(
    life: Callable[[World], None], broken: Callable[[World], None]
):
    found = 0
    for seed in range(8):
        world = running(seed)
        life(world)
        assert world.holders() == ["b"]  # it came to a takeover at all
        world = running(seed)
        broken(world)
        try:
            life(world)
        except BrokenRule:
            found += 1
    assert found >= 1


def test_the_random_lives_find_a_node_that_forgets_its_promises():
    found = 0
    for seed in range(30):
        try:
            live(seed, _forgets_its_promises)
        except AssertionError:
            found += 1
    assert found >= 1


def test_lives_are_the_same_for_the_same_seed():
    one, other = (running(5, Settings("a", "b", preferred=True)) for _ in range(2))
    assert one.said == other.said
    assert one.steps == other.steps
