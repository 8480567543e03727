"""The record link from inference to publisher: one message a frame, a head of 16 bytes and the frame's records. Pure.

The head comes with every frame that was looked at, also when nobody is in it: so the publisher knows that frames flow,
and how far a camera has come on an empty pitch.
"""

from __future__ import annotations

import struct
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.publish.duty import Look
from touchline.record import MAX_BATCH_RECORDS, RECORD, RECORD_BYTES

HEAD: Final = struct.Struct("<HHIq")  # camera, zero, frame, ptp_ns
MAX_MESSAGE_BYTES: Final = HEAD.size + MAX_BATCH_RECORDS * RECORD_BYTES


def frame_message(look: Look, records: NDArray[np.void] | None = None) -> bytes:
    """One frame as it goes over the link."""
    head = HEAD.pack(look.camera, 0, look.frame & 0xFFFFFFFF, look.ptp_ns)
    return head if records is None else head + records.tobytes()


def read_frame(data: bytes | memoryview) -> tuple[Look, NDArray[np.void]]:
    """The frame and a read-only view of its records. Both ends are ours: what does not fit is a bug (ValueError)."""
    if len(data) < HEAD.size:
        raise ValueError(f"frame message of {len(data)} bytes; a head has {HEAD.size}")
    camera, zero, frame, ptp_ns = HEAD.unpack_from(data)
    if zero != 0:
        raise ValueError("frame message with a head that is none")
    return Look(camera, frame, ptp_ns), np.frombuffer(data, RECORD, offset=HEAD.size)
