"""Records without a witness: under the highest epoch that anybody of the pair knows of, and one node's after all."""

from dataclasses import replace

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from failover.core.types import MAX_TOLD_EPOCH, Denied, Role, Settings
from tests.failover.core.bench import Bench, active, starting
from tests.failover.core.parts import MS, Link
from tests.failover.core.world import World


def alone() -> Bench:
    """Active for records alone under epoch 0: the witness never answered, the twin has not spoken yet."""
    bench = starting()
    bench.holder = None
    bench.run(2_100)
    assert bench.role() is Role.ACTIVE and not bench.exclusive() and bench.gate().epoch == 0
    bench.clear()
    return bench


def test_the_epoch_that_a_standby_twin_knows_of_is_taken_up_at_once():
    bench = alone()
    bench.hear(epoch=7)
    assert bench.gate().open and bench.gate().epoch == 7 and bench.beats()[-1].epoch == 7
    assert bench.notes() == ["epoch"] and bench.changes() == [] and not bench.exclusive()
    bench.hear(epoch=5)
    bench.run(200)
    assert bench.gate().epoch == 7, "never lower"
    bench.holder = ""
    bench.run(200)
    assert bench.gate().epoch == 8 and bench.exclusive()


def test_an_epoch_beyond_all_reason_is_not_taken_up():
    bench = alone()
    bench.hear(epoch=MAX_TOLD_EPOCH + 1)
    assert bench.gate().epoch == bench.state.me.known == 0
    bench.hear(epoch=MAX_TOLD_EPOCH)
    assert bench.gate().epoch == MAX_TOLD_EPOCH


def test_what_may_be_the_twins_own_lease_is_not_taken_up():
    bench = alone()
    bench.hear(role=Role.ACTIVE, epoch=7)  # it yields, as ever
    assert bench.role() is Role.STANDBY
    late = alone()
    late.feed(Denied(9, "b", 50 * MS, late.now_ns - 10_000 * MS))  # an old answer: says nothing of now
    assert late.gate().epoch == 0 and late.state.me.known == 9


def test_who_holds_the_lease_has_its_epoch_from_the_witness():
    bench = active()
    before = bench.gate().epoch
    bench.holder = None
    bench.hear(epoch=before + 6, promise_ns=500 * MS)
    assert bench.gate().epoch == before


LOSS = st.sampled_from([0.0, 0.3, 0.9])
FAULTS = st.lists(
    st.tuples(
        st.sampled_from(["lossy", "cut", "heal", "stall", "kill", "witness", "no witness"]),
        st.sampled_from("ab"),
        st.integers(1, 400),
    ),
    max_size=12,
)


def suffer(world: World, faults: list[tuple[str, str, int]], loss: float) -> None:
    for what, name, length_ms in faults:
        other = "b" if name == "a" else "a"
        node = world.nodes[name]
        if what == "lossy":
            world.links[name, other] = Link(loss=loss, jitter_ns=30 * MS)
        elif what == "cut":
            world.links[name, other].up = False
        elif what == "heal":
            world.heal()
        elif what == "stall":
            node.stall(length_ms * MS)
        elif what == "kill":
            node.kept = max(node.kept, node.life.state.me.known if node.life else 0)
            node.kill()
            node.start()
        elif what == "witness":
            world.start_witness()
        else:
            world.stop_witness()
        world.run(length_ms * MS)


def restarted(seed: int, kept: tuple[int, int], late_ms: int) -> World:
    """A pair without its witness; ``kept``: what their disks know, ``late_ms``: how much later ``b`` starts."""
    plain = Settings("a", "b", grace_ns=300 * MS)
    world = World(seed, replace(plain, preferred=True), plain)
    world.nodes["a"].kept, world.nodes["b"].kept = kept
    world.nodes["a"].start()
    world.run(late_ms * MS)
    world.nodes["b"].start()
    world.run(900 * MS)
    return world


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.tuples(st.integers(0, 9), st.integers(0, 9)), st.integers(0, 2_000), FAULTS, LOSS)
@example(1, (0, 7), 2_000, [], 0.0)
@example(2, (7, 0), 0, [("cut", "a", 400), ("cut", "b", 400)], 0.9)
def test_after_a_heal_one_is_active_under_the_highest_epoch_whatever_was_lost(seed, kept, late_ms, faults, loss):
    world = restarted(seed, kept, late_ms)
    suffer(world, faults, loss)
    world.heal()
    world.stop_witness()
    world.run(3_000 * MS)
    known = [node.life.state.me.known for node in world.nodes.values() if node.life]
    assert len(world.active()) == 1, (world.active(), known)
    one = world.nodes[world.active()[0]]
    assert one.gate is not None and one.gate.open and one.gate.epoch == max(known) >= max(kept)


@pytest.mark.parametrize("late_ms", [0, 2_000])
@pytest.mark.parametrize("kept", [(0, 7), (7, 0)])
def test_a_pair_that_starts_again_without_its_witness_goes_on_above_what_was(kept, late_ms):
    world = restarted(3, kept, late_ms)
    world.run(300 * MS)
    assert {node.gate.epoch for node in world.nodes.values() if node.gate and node.gate.open} == {7}
