"""A frame's metadata as bytes, and one process's end of the ring."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.trace import FrameTrace, open_tracer, pack_frame, read_frame_trace
from agent.trace.frame import HEAD_BYTES
from thermal.trace.ring import Room
from thermal.trace.segment import RECORD_OVERHEAD, records_in
from touchline.config import NodeConfig, parse
from touchline.config.protect import ProtectSection
from touchline.record import RECORD, RECORD_BYTES
from touchline.timeline import ClockState, Stamp

PLENTY = Room(1 << 40, 1 << 40, "tmpfs")
FRAME = FrameTrace(3, 77, Stamp(10**18, 180, 2, ClockState.HOLDOVER), 1000, 2000, 3000, bytes(range(104)) * 2)

NODE = """
[node]
name = "pitch-a1"
run_dir = "{run}"
[[camera]]
number = 3
source = "pattern"
calibration = "camera.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "rack"
ca_file = "ca"
cert_file = "cert"
key_file = "key"
{protect}
"""


def config(tmp_path, protect: str) -> NodeConfig:
    return parse(NODE.format(run=tmp_path, protect=protect), NodeConfig, base=tmp_path)


def test_golden_bytes():
    raw = pack_frame(FRAME)
    assert len(raw) == HEAD_BYTES + 208
    assert raw[:HEAD_BYTES].hex() == (
        "0100030000000200" + "4d00000000000000" + "000064a7b3b6e00d" + "b400000000000000"
        "0200000001000000" + "e803000000000000" + "d007000000000000" + "b80b000000000000"
    )
    assert read_frame_trace(raw) == FRAME


def test_the_ring_holds_18_minutes_of_50_frames_a_second_and_more():
    """CAP-6. Here: 25 people in each frame, 240 frames a second."""
    frame = HEAD_BYTES + 25 * RECORD_BYTES + RECORD_OVERHEAD
    assert ProtectSection().trace_max_bytes / (240 * frame) > 18 * 60


frames = st.builds(
    FrameTrace,
    st.integers(0, 65535),
    st.integers(0, 2**64 - 1),
    st.builds(
        Stamp, st.integers(0, 2**62), st.integers(0, 2**63), st.integers(0, 2**32 - 1), st.sampled_from(ClockState)
    ),
    *[st.integers(0, 2**62)] * 3,
    st.integers(0, 30).map(lambda count: bytes(RECORD_BYTES * count)),
)


@given(frames)
def test_a_frame_comes_back(frame):
    assert read_frame_trace(pack_frame(frame)) == frame


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    with suppress(ValueError):
        read_frame_trace(data)


def test_half_a_record_is_refused():
    with pytest.raises(ValueError, match="records of 104"):
        pack_frame(FrameTrace(1, 1, FRAME.stamp, 0, 0, 0, b"x" * 100))


def test_a_node_without_protect_traces_nothing_at_no_cost(tmp_path):
    for text in ("", "[protect]\ntrace_max = 0"):
        tracer = open_tracer(config(tmp_path, text), 3)
        assert not tracer.on
        assert tracer.why == ""
        tracer.put(FRAME, 0)
        assert tracer.counters() == {}
        tracer.close()


def test_frames_lie_in_the_ring_and_are_counted(tmp_path):
    tracer = open_tracer(config(tmp_path, '[protect]\ntrace_max = "8MiB"'), 3, lambda _: PLENTY)
    assert tracer.on
    for _ in range(50):
        tracer.put(FRAME, 0)
    assert tracer.counters() == {"traced": 50, "traced_bytes": 50 * (8 + HEAD_BYTES + 208), "trace_dropped": 0}
    tracer.close()
    (path,) = (tmp_path / "trace" / "cam3").glob("*.seg")
    assert [read_frame_trace(one) for _, one in records_in(path.read_bytes())] == [FRAME] * 50


def test_a_ring_that_cannot_be_is_said_and_counted_and_stops_nobody(tmp_path):
    tracer = open_tracer(config(tmp_path, "[protect]"), 3, lambda _: Room(1 << 30, 1 << 40, "tmpfs"))
    assert not tracer.on
    assert "free memory" in tracer.why
    tracer.put(FRAME, 0)
    assert tracer.counters() == {"trace_dropped": 1}


def test_the_records_of_the_link_fit(tmp_path):
    records = np.zeros(25, RECORD)
    raw = pack_frame(FrameTrace(1, 1, FRAME.stamp, 0, 0, 0, records.tobytes()))
    assert len(raw) == 2664
    assert read_frame_trace(raw).records == records.tobytes()
