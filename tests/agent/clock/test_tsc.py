"""The system counter's tie to MONOTONIC_RAW, where the kernel tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.clock.tsc import HALF_NS, source, tsc_to_raw
from touchline.timeline import Tie


def test_the_kernels_number_ties_the_counter(tmp_path: Path):
    path = tmp_path / "clocksource0" / "offset_ns"
    path.parent.mkdir()
    assert tsc_to_raw(path) is None
    assert source(path) == "no TSC: the kernel has no clocksource0/offset_ns"
    path.write_text("29149720480\n")
    assert tsc_to_raw(path) == Tie(-29_149_720_480, HALF_NS)
    assert source(path) == "TSC by offset_ns of clocksource0"


@pytest.mark.parametrize("text", ["", "nothing", "1.5", str(1 << 63), "0x10"])
def test_what_is_no_number_is_no_tie(tmp_path: Path, text: str):
    path = tmp_path / "offset_ns"
    path.write_text(text)
    assert tsc_to_raw(path) is None
    assert "holds no number" in source(path)


def test_this_machine_answers_one_way_or_the_other():
    assert (tsc_to_raw() is None) == source().startswith("no TSC")
