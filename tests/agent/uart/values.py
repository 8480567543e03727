"""Lines of every kind, for hypothesis; people as the tracker gives them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from agent.uart.line import Box, Line, LineFlag, Raw
from touchline.timeline import Timebase


def tenths(low: int, high: int) -> st.SearchStrategy[float]:
    return st.integers(low, high).map(lambda value: value / 10)


RAWS = st.none() | st.builds(
    Raw,
    st.sampled_from([Timebase.TSC, Timebase.MONOTONIC_RAW, Timebase.MONOTONIC]),
    st.integers(0, 10**19 - 1),
)
BOXES = st.none() | st.builds(
    Box,
    track=st.integers(0, 999_999),
    score=st.none() | st.integers(0, 999).map(lambda value: value / 1000),
    x_px=tenths(-99_999, 99_999),
    y_px=tenths(-99_999, 99_999),
    width_px=tenths(0, 99_999),
    height_px=tenths(0, 99_999),
)
LINES = st.builds(
    Line,
    count=st.integers(0, 999),
    camera=st.integers(0, 65_535),
    frame=st.integers(0, 2**32 - 1),
    ptp_ns=st.integers(0, 10**19 - 1),
    raw=RAWS,
    people=st.integers(0, 999),
    flags=st.integers(0, 255).map(LineFlag),
    box=BOXES,
)


def line(frame: int, camera: int = 1, count: int | None = None) -> Line:
    """A plain one."""
    flags = LineFlag.LOCKED | LineFlag.CLOCK_IN_BOUND
    box = Box(4, 0.9, 10.0, 20.0, 30.0, 60.0)
    counted = frame % 1000 if count is None else count
    return Line(counted, camera, frame, 10**18 + frame, Raw(Timebase.TSC, frame), 2, flags, box)


@dataclass
class People:
    """Followed people, one a row: id, index of the detection (-1: expected), box."""

    rows: list[tuple[int, int, tuple[float, float, float, float]]]
    time_s: float = 1.0

    @property
    def ids(self) -> np.typing.NDArray[np.int64]:
        return np.array([row[0] for row in self.rows], np.int64)

    @property
    def last(self) -> np.typing.NDArray[np.float64]:
        rows = [[*box, 0, max(index, 0), 0.5 if index < 0 else 1.0] for _, index, box in self.rows]
        return np.array(rows, np.float64).reshape(-1, 7).T
