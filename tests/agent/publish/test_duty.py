"""One node's duty: what a standby holds back, covers and lets out, under which epoch, numbers and flags."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.publish.duty import HOLE_NS, UNCLAIMED, Duty, Look
from agent.publish.frontier import UNCLAIMED_NS
from agent.publish.gate import LAPSE_NS
from agent.publish.spool import Spool
from failover.core.types import CameraCursor, Gate, Role
from failover.link import Opened
from tests.agent.publish.pair import MS, PERIOD_NS, SPOOL, T0_NS, from_standby
from touchline.record import BatchHeader, Flag, new_records, pack_batch, read_header, unpack_batch, with_epoch

BOOT = bytes(12) + bytes([7, 0, 0, 0])


class Bench:
    """A duty and its time."""

    def __init__(self, folder: Path, **how: bool) -> None:
        self.now_ns = 10**9
        self.duty = Duty(Spool(folder, SPOOL, self.now_ns), "node-a", BOOT, epoch=1, **{"gated": True, **how})
        self.number = 0

    def frames(self, count: int, people: int = 2, camera: int = 1) -> None:
        for _ in range(count):
            self.now_ns += PERIOD_NS
            at_ns = T0_NS + self.number * PERIOD_NS
            self.duty.looked(Look(camera, self.number, at_ns), self.now_ns, empty=people == 0)
            if people:
                rows = new_records(people)
                rows["camera"], rows["frame"], rows["ptp_ns"] = camera, self.number, at_ns
                self.duty.enqueue(rows, self.now_ns)
            self.number += 1

    def open(self, epoch: int = 5, for_ms: int = 100, covered: int | None = None) -> None:
        self.say(True, epoch, for_ms, covered)

    def shut(self, covered: int | None = None, *, settled: bool = False, epoch: int = 5) -> None:
        self.say(False, epoch, 0, covered, settled)

    def say(self, is_open: bool, epoch: int, for_ms: int, covered: int | None, settled: bool = False) -> None:
        known = () if covered is None else (CameraCursor(1, T0_NS + covered * PERIOD_NS),)
        role = Role.ACTIVE if is_open else Role.STANDBY
        self.duty.hear(Gate(is_open, epoch, self.now_ns + for_ms * MS, role, settled or is_open, known), self.now_ns)

    def send(self, most: int = 1000) -> list[bytes]:
        """What may leave, acknowledged at once."""
        left: list[bytes] = []
        while len(left) < most and self.duty.may_leave(self.now_ns) and (entry := self.duty.spool.take()) is not None:
            got = self.duty.spool.read(entry)
            assert got is not None
            if self.duty.opening:
                self.duty.left(entry, self.now_ns)
            left.append(self.duty.to_send(*got, self.now_ns))
            self.duty.spool.acknowledge(entry)
            self.duty.acknowledged(self.now_ns)
        return left


def frames_in(batches: list[bytes]) -> list[int]:
    return [int(unpack_batch(data)[1]["frame"][0]) for data in batches]


Make = Callable[..., Bench]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    made: list[Bench] = []

    def bench(**how: bool) -> Bench:
        made.append(Bench(tmp_path / str(len(made)), **how))
        return made[-1]

    yield bench
    for one in made:
        one.duty.spool.close()


def test_with_epoch_changes_the_epoch_and_nothing_else() -> None:
    rows = new_records(3)
    rows["x_m"] = 4.0
    data = pack_batch(BatchHeader("node-a", BOOT, 1, 2, 3, 3), rows)
    changed = with_epoch(data, 2**62)
    assert changed == pack_batch(BatchHeader("node-a", BOOT, 2**62, 2, 3, 3), rows)
    assert with_epoch(changed, 1) == data


def test_without_failover_all_leaves_under_the_nodes_epoch(make: Make) -> None:
    bench = make(gated=False)
    bench.frames(3)
    (first, *_) = left = bench.send()
    assert frames_in(left) == [0, 1, 2]
    assert read_header(first).epoch == 1 and not from_standby(first)
    assert bench.duty.snapshot(0) is None


def test_nothing_leaves_before_the_gate_opens_and_then_oldest_first_under_its_epoch(make: Make) -> None:
    bench = make()
    bench.frames(4)
    assert bench.send() == []
    bench.open(epoch=9)
    left = bench.send()
    assert frames_in(left) == [0, 1, 2, 3]
    assert {read_header(data).epoch for data in left} == {9}
    assert all(from_standby(data) for data in left)
    bench.frames(1)
    (live,) = bench.send()
    assert read_header(live).epoch == 9 and not from_standby(live)
    assert unpack_batch(live)[1]["flags"][0] & Flag.FROM_STANDBY == 0


def test_it_shuts_by_itself(make: Make) -> None:
    bench = make()
    bench.open(for_ms=30)
    bench.frames(1)
    assert len(bench.send()) == 1
    bench.frames(1)
    assert bench.send() == []
    assert bench.duty.role.value == "active", "late, perhaps; no other role yet"
    bench.now_ns += LAPSE_NS
    bench.frames(1)
    assert bench.duty.role.value == "standby"
    bench.open()
    left = bench.send()
    assert [from_standby(data) for data in left] == [False, True]
    assert frames_in(left) == [1, 2]


def test_a_short_debt_goes_first_because_it_is_older(make: Make) -> None:
    bench = make()
    bench.open()
    bench.frames(64)
    bench.shut()
    bench.frames(1)
    bench.open()
    assert frames_in(bench.send()) == list(range(65))


def test_what_the_twin_delivered_is_covered_and_the_rest_leaves(make: Make) -> None:
    bench = make()
    bench.shut(covered=0)
    bench.frames(10)
    bench.shut(covered=6)
    snapshot = bench.duty.snapshot(bench.now_ns)
    assert snapshot is not None
    assert (snapshot["covered_batches"], snapshot["covered"], snapshot["held_batches"]) == (7, 14, 10)
    bench.open(covered=7)
    assert frames_in(bench.send()) == [8, 9]
    spool = bench.duty.spool
    assert (spool.acknowledged.batches, spool.covered.batches, spool.depth.batches) == (2, 8, 0)


def test_what_is_covered_behind_a_debt_does_not_leave_with_it(make: Make) -> None:
    bench = make()
    bench.open(covered=0)
    bench.frames(3)
    bench.shut(covered=2)
    bench.frames(7)
    bench.shut(covered=6)
    bench.open(epoch=6, covered=6)
    spool = bench.duty.spool
    taken = [entry for _ in range(20) if (entry := spool.take()) is not None]
    assert [entry.index for entry in taken] == [0, 1, 2, 7, 8, 9]
    for entry in taken:
        spool.acknowledge(entry)
    assert (spool.acknowledged.batches, spool.covered.batches, spool.depth.batches) == (6, 4, 0)


def test_on_disk_a_standbys_batch_has_no_epoch(make: Make) -> None:
    bench = make()
    bench.shut(epoch=6)
    bench.frames(1)
    bench.open(epoch=7)
    entry = bench.duty.spool.take()
    assert entry is not None
    got = bench.duty.spool.read(entry)
    assert got is not None and got[0].epoch == 0, "an earlier life's copy never claims a camera"


def test_its_own_waits_for_settled_and_keeps_its_epoch(make: Make) -> None:
    bench = make()
    bench.open(epoch=5)
    bench.frames(3)
    bench.shut(covered=20, epoch=5)
    bench.frames(2)
    assert bench.send() == []
    bench.shut(covered=20, settled=True, epoch=5)
    left = bench.send()
    assert frames_in(left) == [0, 1, 2], "not covered: the twin's camera may have missed just these"
    assert {read_header(data).epoch for data in left} == {5}


def test_an_earlier_lifes_debt_waits_behind_the_takeover(make: Make, tmp_path: Path) -> None:
    first = make()
    first.open()
    first.frames(100)
    first.duty.spool.close()
    again = Duty(Spool(first.duty.spool.folder, SPOOL, first.now_ns), "node-a", bytes(16), epoch=1, gated=True)
    first.duty = again
    first.frames(2)
    first.open(epoch=6)
    assert frames_in(first.send(most=51)) == [100, 101, *range(49)]
    first.frames(1)
    assert frames_in(first.send(most=1)) == [102], "what is live goes before the debts that are left"
    assert again.frontier.cursors() == (), "it would say that the debts are at the rack"
    assert frames_in(first.send()) == list(range(49, 100))
    assert again.frontier.cursors() == (CameraCursor(1, T0_NS + 102 * PERIOD_NS),)


def test_a_reconnect_in_a_standby_leaves_the_covered_to_the_twin_and_after_it_a_takeover_repeats_them(
    make: Make,
) -> None:
    bench = make()
    bench.shut(covered=0)
    bench.frames(6)
    bench.shut(covered=3)
    assert bench.duty.connected(bench.now_ns) == 0
    assert bench.duty.spool.depth.batches == 2
    bench.open(covered=3)
    assert frames_in(bench.send()) == [0, 1, 2, 3, 4, 5], "the broker may have lost what it had from the twin"
    assert bench.duty.spool.covered.batches == 4, "counted once"


def test_such_a_takeover_begins_with_what_the_twin_never_had(make: Make) -> None:
    bench = make()
    bench.shut(covered=0)
    for _ in range(20):
        bench.frames(5)
        bench.shut(covered=bench.number - 3)
    bench.duty.connected(bench.now_ns)
    bench.open(covered=97)
    assert frames_in(bench.send()) == [98, 99, *range(98)]


def test_a_takeover_long_after_a_reconnect_repeats_nothing(make: Make) -> None:
    bench = make()
    bench.shut(covered=0)
    bench.duty.connected(bench.now_ns)
    bench.frames(2)
    bench.now_ns += int(SPOOL.replay_s * 1e9)
    bench.shut(covered=1)
    bench.frames(1)
    bench.open(covered=1)
    assert frames_in(bench.send()) == [2]


def test_opened_names_the_first_frame(make: Make) -> None:
    bench = make()
    bench.shut(covered=0)
    bench.frames(5)
    bench.open(epoch=8, covered=2)
    bench.send()
    assert bench.duty.opened == Opened(8, CameraCursor(1, T0_NS + 3 * PERIOD_NS), bench.now_ns)
    bench.duty.opened = None
    bench.frames(1)
    bench.send()
    assert bench.duty.opened is None, "once"
    bench.open(epoch=9)
    bench.frames(1, people=0)
    assert bench.duty.opened == Opened(9, None, bench.now_ns), "the first frame showed nobody"


def test_cursors_of_an_active_one_follow_its_acknowledgements_over_an_empty_pitch(make: Make) -> None:
    bench = make()
    bench.open(for_ms=10_000)
    bench.frames(2)
    bench.frames(1, people=0)
    assert bench.duty.frontier.cursors() == ()
    bench.send()
    bench.frames(2, people=0)
    assert bench.duty.frontier.cursors() == (CameraCursor(1, T0_NS + 4 * PERIOD_NS),)


def test_a_standby_numbers_anew_so_that_what_it_never_sends_is_no_hole(make: Make) -> None:
    bench = make()
    bench.open(covered=0, for_ms=10_000)
    bench.frames(3)
    heads = [read_header(data) for data in bench.send()]
    bench.shut(covered=2)
    bench.frames(5)
    bench.shut(covered=5)
    bench.open(epoch=6, covered=5, for_ms=10_000)
    bench.frames(1)
    heads += [read_header(data) for data in bench.send()]
    assert [head.boot_id[-4:] for head in heads] == [bytes([7, 0, 0, 0])] * 3 + [bytes([8, 0, 0, 0])] * 3
    assert len({head.boot_id[:12] for head in heads}) == 1
    numbers = [(head.batch_number, head.first_record) for head in heads[3:]]
    assert numbers == [(n, 2 * n) for n in range(numbers[0][0], numbers[0][0] + 3)], "one unbroken run"


def test_what_the_twin_leapt_over_goes_to_the_rack(make: Make) -> None:
    bench = make()
    for _ in range(10):
        bench.frames(1)
        bench.shut(covered=bench.number - 1, settled=True)
    bench.frames(30)
    bench.shut(covered=bench.number - 1, settled=True)
    assert len(frames_in(bench.send())) == 30
    snapshot = bench.duty.snapshot(bench.now_ns)
    assert snapshot is not None and snapshot["doubts"] == 1


def test_a_camera_that_the_active_one_lacks_is_counted_as_unclaimed(make: Make) -> None:
    bench = make()
    bench.frames(1, camera=2)
    for _ in range(UNCLAIMED_NS // PERIOD_NS // 10 + 2):
        bench.number += 9
        bench.now_ns += 9 * PERIOD_NS
        bench.frames(1)
        bench.shut(covered=bench.number - 1)
    assert bench.duty.spool.dropped == {UNCLAIMED: 2}
    assert bench.duty.spool.depth.batches == 0


def test_a_full_standby_drops_its_oldest_whatever_is_configured_for_its_own(make: Make, tmp_path: Path) -> None:
    small = type(SPOOL)(max_bytes=1 << 20, sync="off", when_full="drop-newest")
    bench = make()
    bench.duty.spool.close()
    bench.duty = Duty(Spool(tmp_path / "small", small, 0), "node-a", BOOT, epoch=1, gated=True)
    bench.frames(2000, people=20)
    bench.open()
    left = frames_in(bench.send())
    assert left[-1] == 1999, "the newest are there for the takeover"
    assert bench.duty.spool.dropped["spool_full"] == 20 * (2000 - len(left)) > 0


def test_after_a_drop_the_cursor_stands_and_then_leaps_so_that_the_twin_delivers_its_own(make: Make) -> None:
    active, twin = make(), make()
    for bench in (active, twin):
        bench.frames(1)
    active.open()
    active.send()
    before = active.duty.frontier.cursors()
    twin.shut(covered=0)
    active.frames(3)
    entry = active.duty.spool.take()
    assert entry is not None
    active.duty.spool.discard(entry, "corrupt")  # frame 1: the disk lost it; the twin's copy is whole
    twin.frames(3)
    active.open()
    active.send()
    assert active.duty.frontier.cursors() == before
    end_ns = active.now_ns + HOLE_NS
    while active.now_ns < end_ns:
        active.open()
        active.frames(1)
        twin.frames(1)
        twin.shut(covered=0)
        active.send()
    (cursor,) = active.duty.frontier.cursors()
    assert cursor.ptp_ns > T0_NS + 4 * PERIOD_NS
    last = (cursor.ptp_ns - T0_NS) // PERIOD_NS
    twin.shut(covered=last, settled=True)
    assert twin.duty.doubts == 1
    assert 1 in frames_in(twin.send())


def test_what_is_of_a_time_that_is_no_more_stays_for_a_takeover(make: Make) -> None:
    bench = make()
    bench.number = first = 200_000
    bench.frames(5)
    bench.number -= 100_000  # the camera's time steps back by more than a second
    bench.frames(1)
    bench.shut(covered=bench.number - 1)
    assert bench.duty.spool.covered.batches <= 1
    bench.open()
    assert set(frames_in(bench.send())) >= set(range(first, first + 5))
