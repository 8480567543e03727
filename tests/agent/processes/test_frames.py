"""The record link: a head with every frame, also of an empty pitch."""

from __future__ import annotations

import numpy as np
import pytest

from agent.processes.frames import HEAD, MAX_MESSAGE_BYTES, frame_message, read_frame
from agent.publish.duty import Look
from touchline.record import MAX_BATCH_RECORDS, new_records

LOOK = Look(65_535, 2**32 - 1, 2**62)


def test_a_frame_survives() -> None:
    rows = new_records(3)
    rows["x_m"] = [1.0, 2.0, 3.0]
    data = frame_message(LOOK, rows)
    assert len(data) == 16 + 3 * 104
    look, read = read_frame(data)
    assert look == LOOK
    assert np.array_equal(read, rows)


@pytest.mark.parametrize("rows", [None, new_records(0)])
def test_an_empty_pitch_is_a_head_alone(rows: np.ndarray | None) -> None:
    data = frame_message(LOOK, rows)
    assert data == bytes.fromhex("ffff0000ffffffff0000000000000040")
    look, read = read_frame(data)
    assert look == LOOK and len(read) == 0


def test_a_cameras_number_may_run_over() -> None:
    assert read_frame(frame_message(Look(1, 2**32 + 5, 1)))[0].frame == 5


@pytest.mark.parametrize("data", [b"", bytes(15), bytes(17), b"\x00\x00\x01" + bytes(13)])
def test_what_is_no_frame_is_a_bug(data: bytes) -> None:
    with pytest.raises(ValueError):
        read_frame(data)


def test_the_largest_batch_fits() -> None:
    assert len(frame_message(LOOK, new_records(MAX_BATCH_RECORDS))) == MAX_MESSAGE_BYTES
    assert HEAD.size == 16
