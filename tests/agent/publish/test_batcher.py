"""The window of 0..250 ms: nothing waits longer, no frame is split, nothing is lost or reordered (MSG-1)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.publish.batcher import Batcher, WindowSettings
from touchline.errors import ConfigError
from touchline.record import new_records

MS = 1_000_000


@given(
    sizes=st.lists(st.integers(0, 60), max_size=40),
    gaps_ms=st.lists(st.integers(0, 300), min_size=40, max_size=40),
    window_ms=st.sampled_from([0.0, 10.0, 250.0]),
    limit=st.integers(1, 100),
)
def test_every_record_leaves_once_in_order_and_in_time(
    sizes: list[int], gaps_ms: list[int], window_ms: float, limit: int
) -> None:
    batcher = Batcher(WindowSettings(window_ms, limit))
    now_ns = first = 0
    out = []
    oldest_ns: dict[int, int] = {}
    for size, gap_ms in zip(sizes, gaps_ms, strict=False):
        deadline_ns = now_ns + gap_ms * MS
        while batcher.due_ns is not None and batcher.due_ns <= deadline_ns:
            now_ns = batcher.due_ns
            out += [(batch, now_ns) for batch in batcher.due(now_ns)]
        now_ns = deadline_ns
        rows = new_records(size)
        rows["frame"] = np.arange(first, first + size)
        oldest_ns.update((first + i, now_ns) for i in range(size))
        first += size
        out += [(batch, now_ns) for batch in batcher.add(rows, now_ns)]
    out += [(batch, now_ns) for batch in batcher.flush()]
    assert [int(n) for batch, _ in out for n in batch["frame"]] == list(range(first))
    for batch, left_ns in out:
        assert 1 <= len(batch) <= limit
        assert left_ns - oldest_ns[int(batch["frame"][0])] <= window_ms * MS
    assert batcher.due_ns is None
    assert batcher.due(now_ns) == []


def test_zero_is_one_batch_per_frame_and_copies_nothing() -> None:
    rows = new_records(25)
    (batch,) = Batcher(WindowSettings(0.0)).add(rows, 0)
    assert batch is rows


def test_a_frame_is_not_split_over_two_batches() -> None:
    batcher = Batcher(WindowSettings(250.0, 100))
    assert batcher.add(new_records(60), 0) == []
    (full,) = batcher.add(new_records(60), 1)
    assert len(full) == 60


@pytest.mark.parametrize(("window_ms", "records"), [(-1.0, 10), (251.0, 10), (0.0, 0), (0.0, 8193)])
def test_bounds(window_ms: float, records: int) -> None:
    with pytest.raises(ConfigError):
        WindowSettings(window_ms, records)
