"""Each camera frame from exactly one node, and none left out that anybody delivered."""

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.accept import Acceptor, Exposure, Verdict
from aggregator.core.coverage import Coverage, FramePeriod

PERIOD_NS = 8_333_333
MS = 1_000_000


def exposure(frame: int, offset_ns: int = 0, camera: int = 1) -> Exposure:
    return Exposure(camera, frame, 10**18 + frame * PERIOD_NS + offset_ns)


def judge(acceptor: Acceptor, node: str, frame: int, now_ns: int, *, epoch: int = 1, offset_ns: int = 0) -> Verdict:
    verdicts, _ = acceptor.judge([exposure(frame, offset_ns)], node, epoch, now_ns)
    return verdicts[0]


def test_the_first_node_owns_and_the_twin_only_copies():
    acceptor = Acceptor(rate_hz=120)
    for frame in range(20):
        now_ns = frame * PERIOD_NS
        assert judge(acceptor, "a", frame, now_ns) is Verdict.TAKE
        assert judge(acceptor, "b", frame, now_ns, offset_ns=40_000) is Verdict.TWIN
    assert len(acceptor.cameras[1].coverage.intervals) == 1


def test_a_twin_that_is_early_waits_and_finds_the_owners_copy():
    acceptor = Acceptor(rate_hz=120)
    judge(acceptor, "a", 0, 0)
    assert judge(acceptor, "b", 1, MS) is Verdict.PARK
    assert judge(acceptor, "a", 1, 2 * MS) is Verdict.TAKE
    assert acceptor.settle(exposure(1), "b") is Verdict.TWIN


def test_a_hole_of_the_owner_is_filled_by_its_twin():
    acceptor = Acceptor(rate_hz=120)
    judge(acceptor, "a", 0, 0)
    assert judge(acceptor, "b", 1, MS) is Verdict.PARK
    judge(acceptor, "a", 2, 2 * MS)
    assert acceptor.settle(exposure(1), "b") is Verdict.TAKE
    assert judge(acceptor, "a", 1, 99 * MS) is Verdict.TWIN  # too late: it is taken


def test_the_higher_epoch_takes_over_at_once_and_keeps_it():
    acceptor = Acceptor(rate_hz=120)
    judge(acceptor, "a", 0, 0, epoch=4)
    verdicts, changes = acceptor.judge([exposure(1)], "b", 5, MS)
    assert verdicts == [Verdict.TAKE]
    assert [(c.before, c.after, c.reason) for c in changes] == [("a", "b", "epoch")]
    assert judge(acceptor, "a", 2, 2 * MS, epoch=4) is Verdict.PARK
    assert judge(acceptor, "a", 1, 2 * MS, epoch=4) is Verdict.TWIN


def test_a_silent_owner_gives_way_and_equals_do_not_swap_back():
    acceptor = Acceptor(rate_hz=120, silent_ns=50 * MS)
    judge(acceptor, "a", 0, 0)
    assert judge(acceptor, "b", 3, 40 * MS) is Verdict.PARK
    assert judge(acceptor, "b", 7, 60 * MS) is Verdict.TAKE
    assert acceptor.cameras[1].owner == "b"
    assert judge(acceptor, "a", 8, 70 * MS) is Verdict.PARK


def test_an_hour_of_late_copies_is_recognised():
    acceptor = Acceptor(rate_hz=25, max_intervals=64)
    for frame in range(25 * 3600):
        acceptor.cameras.setdefault(1, acceptor._state(1)).coverage.add(frame * 40 * MS, "b", 40 * MS)
    assert len(acceptor.cameras[1].coverage.intervals) == 1
    late = [Exposure(1, frame, frame * 40 * MS + 3000) for frame in range(0, 25 * 3600, 977)]
    verdicts, _ = acceptor.judge(late, "a", 1, 0)
    assert set(verdicts) == {Verdict.TWIN}


ARRIVALS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 30), st.integers(-200_000, 200_000)), max_size=120)


@given(ARRIVALS, st.integers(2, 6), st.booleans())
@settings(max_examples=250, deadline=None)
def test_every_delivered_frame_is_taken_from_exactly_one_node(arrivals, wait, epochs_differ):
    """Any interleaving of twins, late, early, repeated, with restarts of the acceptor from what it saved."""
    acceptor = Acceptor(rate_hz=120, silent_ns=9 * MS)
    taken: dict[int, set[str]] = {}
    parked: list[tuple[int, Exposure, str, int]] = []
    saved: dict[int, tuple[int, str]] = {}
    delivered: set[tuple[str, int]] = set()

    def take(frame: int, node: str) -> None:
        taken.setdefault(frame, set()).add(node)

    for step, (node, frame, offset) in enumerate(arrivals):
        while parked and parked[0][0] <= step:
            _, waiting, sender, number = parked.pop(0)
            if acceptor.settle(waiting, sender) is Verdict.TAKE:
                take(number, sender)
        if (node, frame) in delivered:
            continue  # the record numbers have caught it before
        delivered.add((node, frame))
        shot = exposure(frame, offset if node == "b" else 0)
        epoch = 2 if epochs_differ and node == "b" else 1
        verdict = acceptor.judge([shot], node, epoch, step * MS)[0][0]
        if verdict is Verdict.TAKE:
            take(frame, node)
        elif verdict is Verdict.PARK:
            parked.append((step + wait, shot, node, frame))
        for camera in acceptor.take_changes():
            for start in camera.forgotten:
                saved.pop(start, None)
            saved.update({start: (end, who) for start, end, who in camera.intervals})
            restarted = [(start, end, who) for start, (end, who) in saved.items()]
            fresh = Acceptor(rate_hz=120, silent_ns=9 * MS)
            fresh.restore(1, camera.owner, camera.epoch, restarted, step * MS)
            assert fresh.cameras[1].coverage.intervals == acceptor.cameras[1].coverage.intervals
    for _, waiting, sender, number in parked:
        if acceptor.settle(waiting, sender) is Verdict.TAKE:
            take(number, sender)
    assert set(taken) == {frame for _, frame in delivered}
    assert all(len(nodes) == 1 for nodes in taken.values())


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), max_size=100), st.integers(2, 8))
@settings(max_examples=200, deadline=None)
def test_coverage_stays_ordered_disjoint_and_bounded(adds, most):
    coverage = Coverage(most)
    for frame, node in adds:
        if not coverage.holders(frame * 100, 50):
            coverage.add(frame * 100, node, 100)
        assert node in coverage.holders(frame * 100, 50) or coverage.holders(frame * 100, 50)
        found = coverage.intervals
        assert len(found) <= most
        assert all(start <= end for start, end, _ in found)
        assert all(a[1] < b[0] for a, b in pairwise(found))


def test_the_period_is_learned_from_frame_numbers():
    period = FramePeriod()
    assert period.period_ns == 20 * MS
    for frame in (0, 1, 3, 4, 90, 91):  # lost frames and jitter do not mislead it
        period.observe("a", frame, frame * PERIOD_NS + frame % 2 * 3000)
    assert abs(period.period_ns - PERIOD_NS) < 5000
    assert FramePeriod(25.0).period_ns == 40 * MS
