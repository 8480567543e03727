"""Both ends in one process: order, guard band, accounting, restarts, and what is refused."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import pytest

from agent.ring import Ring, RingFds, RingReader, RingSpec, RingWriter, WriterGone, layout
from tests.agent.ring.helpers import PAYLOAD, duplicate, forget_reader, forget_writer, small_ring, stamp_of, write
from touchline.errors import ConfigError, InputError, ResourceError


@pytest.fixture
def ring():
    ring = small_ring()
    yield ring
    ring.close()


def numbers(reader: RingReader) -> list[int]:
    """Hand out all that is there."""
    seen = []
    while (frame := reader.next(0)) is not None:
        seen.append(frame.index)
    return seen


def test_a_frame_arrives_with_its_number_stamp_and_pixels(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    PAYLOAD.pack_into(writer.acquire(), 0, *range(8))
    writer.commit(77, stamp_of(5), dropped_before=3)
    frame = reader.next(1.0)
    assert frame is not None
    assert (frame.index, frame.sequence, frame.stamp) == (0, 77, stamp_of(5))
    assert (frame.dropped_before, frame.skipped_before) == (3, 0)
    assert frame.landed_monotonic_ns > 0
    assert frame.image((2, 4), np.uint64).tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert frame.still_valid()
    assert ring.ledger().camera_drops == 3


def test_pixels_are_read_only_and_not_copied(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    frame = reader.next(0)
    assert frame is not None
    image = frame.image((64,))
    assert not image.flags.writeable
    with pytest.raises(TypeError):
        frame.payload[0] = 1
    writer._views[0][0] = 99  # the writer's mapping, the same memory
    assert image[0] == 99
    with pytest.raises(InputError, match="needs 128 bytes, a slot has 64"):
        frame.image((16,), np.uint64)


def test_frames_come_in_order_to_every_reader(ring):
    writer, readers = RingWriter(ring), [RingReader(ring, 0), RingReader(ring, 1)]
    write(writer, 3)
    assert [numbers(reader) for reader in readers] == [[0, 1, 2]] * 2
    write(writer, 2)
    assert [numbers(reader) for reader in readers] == [[3, 4]] * 2


def test_no_frame_is_no_error(ring):
    RingWriter(ring)
    assert RingReader(ring, 0).next(0.001) is None


def test_acquire_twice_is_the_same_slot_and_commit_alone_is_a_bug(ring):
    writer = RingWriter(ring)
    first = writer.acquire()
    first[0] = 42
    assert writer.acquire()[0] == 42
    writer.commit(0, stamp_of(0))
    with pytest.raises(RuntimeError, match="commit without acquire"):
        writer.commit(1, stamp_of(1))


def test_a_half_written_slot_is_never_handed_out(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    writer.acquire()[0] = 1
    assert numbers(reader) == [0]


def test_a_reader_in_the_guard_band_goes_on_at_the_newest_and_the_loss_is_counted(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer, 4)  # 6 slots, guard 2: frame 0 is the oldest that may still be handed out
    assert numbers(reader) == [0, 1, 2, 3]
    write(writer, 5)  # now frame 4 would be overwritten by the next but one
    frame = reader.next(0)
    assert frame is not None
    assert (frame.index, frame.skipped_before) == (8, 4)
    ledger = reader.ledger()
    assert (ledger.handed, ledger.skipped, ledger.overruns, ledger.lag) == (5, 4, 1, 0)


def test_the_newest_can_be_asked_for(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer, 3)
    frame = reader.next(0, newest=True)
    assert frame is not None
    assert (frame.index, frame.skipped_before) == (2, 2)
    assert reader.ledger().overruns == 0


def test_being_overtaken_while_looking_is_seen_and_counted_once(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    frame = reader.next(0)
    assert frame is not None
    write(writer, 5)
    assert frame.still_valid()
    writer.acquire()  # the slot's next turn begins
    assert not frame.still_valid()
    assert not frame.still_valid()
    assert reader.ledger().late == 1


def test_a_restarted_reader_goes_on_where_it_was(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer, 2)
    assert numbers(reader) == [0, 1]
    reader.close()
    write(writer, 2)
    again = RingReader(ring, 0)
    assert numbers(again) == [2, 3]
    assert again.ledger().lives == 2


def test_a_reader_that_was_away_too_long_starts_at_the_newest(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    reader.next(0)
    forget_reader(ring, 0)  # killed with frame 0 in hand
    write(writer, 20)
    again = RingReader(ring, 0)
    assert numbers(again) == [20]
    ledger = again.ledger()
    assert (ledger.handed, ledger.skipped, ledger.abandoned) == (2, 19, 1)


def test_a_finished_frame_is_not_abandoned(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    assert numbers(reader) == [0]
    forget_reader(ring, 0)
    assert RingReader(ring, 0).ledger().abandoned == 0


def test_a_restarted_writer_continues_the_count_and_reuses_the_torn_slot(ring):
    reader = RingReader(ring, 0)
    first = RingWriter(ring)
    write(first, 2)
    first.acquire()[:8] = b"halfdone"
    forget_writer(ring)
    second = RingWriter(ring)
    assert second.committed == 2
    write(second)
    assert numbers(reader) == [0, 1, 2]
    ledger = ring.ledger()
    assert (ledger.committed, ledger.abandoned, ledger.writer_lives) == (3, 1, 2)


def test_a_dead_writer_is_reported_once_after_its_last_frame(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer, 2)
    forget_writer(ring)
    assert [reader.next(0).index, reader.next(0).index] == [0, 1]  # type: ignore[union-attr]
    with pytest.raises(WriterGone) as caught:
        reader.next(1.0)
    assert not caught.value.orderly
    assert reader.next(0.001) is None
    write(RingWriter(ring))
    assert numbers(reader) == [2]


def test_an_orderly_end_is_told_from_a_death(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 0)
    write(writer)
    writer.close()
    writer.close()
    assert reader.next(0) is not None
    with pytest.raises(WriterGone, match="closed the ring") as caught:
        reader.next(1.0)
    assert caught.value.orderly
    write(RingWriter(ring))
    assert numbers(reader) == [1]


def test_one_writer_and_one_reader_per_place(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 1)
    with pytest.raises(ResourceError, match="already writes"):
        RingWriter(ring)
    with pytest.raises(ResourceError, match="already reads at place 1"):
        RingReader(ring, 1)
    with pytest.raises(ConfigError, match="reader place 2"):
        RingReader(ring, 2)
    writer.close()
    reader.close()
    RingWriter(ring)
    RingReader(ring, 1)


def test_backlog_is_that_of_the_slowest_attached_reader(ring):
    writer = RingWriter(ring)
    write(writer, 3)
    assert writer.backlog() == 0
    one, two = RingReader(ring, 0), RingReader(ring, 1)
    one.next(0)
    assert writer.backlog() == 3
    numbers(two)
    assert writer.backlog() == 2
    one.close()
    assert writer.backlog() == 0


def test_a_saturated_hand_over_never_blocks_the_writer(ring):
    writer, reader = RingWriter(ring), RingReader(ring, 1)
    os.eventfd_write(ring.fds().events[0], 2**64 - 3)  # and the one that the writer wrote when it came
    write(writer, 3)
    assert numbers(reader) == [0, 1, 2]


def test_the_ledger_is_visible_from_another_mapping(ring):
    other = Ring.attach(duplicate(ring.fds()))
    writer, reader = RingWriter(ring), RingReader(other, 0)
    write(writer, 3)
    reader.next(0)
    ledger = ring.ledger()
    assert ledger.writer_attached
    assert (ledger.committed, ledger.writer_pid) == (3, os.getpid())
    assert (ledger.readers[0].handed, ledger.readers[0].lag, ledger.readers[1].lag) == (1, 2, 3)
    assert other.spec == ring.spec
    reader.close()
    other.close()


def test_the_ring_describes_itself():
    ring = Ring.create(RingSpec(24, 1_843_200, guard_slots=2), lock="off")
    text = ring.describe(240)
    for part in (
        "24 slots x 1,843,200 B",
        "0.044 GB",
        "0.10 s at 240 frames/s",
        "guard 2 slots (8.3 ms)",
        "not locked",
    ):
        assert part in text
    assert ring.seconds_at(120) == 0.2
    ring.close()
    ring.close()


def test_pixels_outlive_the_ring_in_the_hands_of_a_caller(ring):
    other = Ring.attach(duplicate(ring.fds()))
    writer, reader = RingWriter(ring), RingReader(other, 0)
    write(writer)
    frame = reader.next(0)
    assert frame is not None
    image = frame.image((8,), np.uint64)
    reader.close()
    other.close()
    assert image.tolist() == [0] * 8


def test_descriptors_survive_text():
    fds = RingFds(5, (6, 7))
    assert RingFds.from_text(fds.to_text()) == fds
    assert fds.all() == (5, 6, 7)
    for wrong in ("", "5", "5:", "a:b", "5:6,x"):
        with pytest.raises(InputError):
            RingFds.from_text(wrong)


def test_what_is_no_ring_is_refused(ring):
    events = ring.fds().events
    with tempfile.TemporaryFile() as file, pytest.raises(InputError, match="not a ring"):
        file.write(b"x" * 4096)
        file.flush()
        Ring.attach(RingFds(file.fileno(), events))
    with pytest.raises(InputError, match="not a ring"):
        Ring.attach(RingFds(events[0], events))
    with pytest.raises(InputError, match="not a ring"):
        Ring.attach(RingFds(10_000, events))
    with pytest.raises(InputError, match="1 event descriptors"):
        Ring.attach(RingFds(ring.fds().memfd, events[:1]))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [("magic", 1, "wrong magic"), ("layout_hash", 1, "another layout"), ("slots", 7000, "does not fit")],
)
def test_a_header_of_another_kind_is_refused(ring, field, value, said):
    ring.words[layout.word_of(layout.IDENTITY, field, 0)] = value
    with pytest.raises(InputError, match=said):
        Ring.attach(ring.fds())
