"""The line: golden bytes, both ways, and nothing but a whole line is read."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.uart.line import (
    COLUMNS,
    END,
    LINE_CHARS,
    VERSION,
    Box,
    Line,
    LineError,
    LineFlag,
    Raw,
    checksum,
    decode,
    encode,
    layout_hash,
    spec_text,
)
from tests.agent.uart.values import LINES, line
from touchline.config.uart import BITS_A_BYTE, LINE_BYTES
from touchline.timeline import Timebase

REPO = Path(__file__).parents[3]
GOLDEN = json.loads((REPO / "tests" / "vectors" / f"uart_v{VERSION}.json").read_text())


def golden_line(row: dict[str, Any]) -> Line:
    raw = None if row["raw"] is None else Raw(Timebase(row["raw"][0]), row["raw"][1])
    box = None if row["box"] is None else Box(*row["box"])
    numbers = {name: row[name] for name in ("count", "camera", "frame", "ptp_ns", "people")}
    return Line(raw=raw, box=box, flags=LineFlag(row["flags"]), **numbers)


@pytest.mark.parametrize("row", GOLDEN["lines"], ids=lambda row: row["text"][:24])
def test_golden_lines(row):
    assert encode(golden_line(row)) == row["text"].encode()
    assert decode(row["text"].encode()) == golden_line(row)


@pytest.mark.parametrize(("reason", "text"), GOLDEN["bad"])
def test_golden_faults(reason, text):
    with pytest.raises(LineError) as caught:
        decode(text.encode())
    assert caught.value.reason == reason
    assert caught.value.exit_code == 4


def test_the_columns_have_not_changed_under_their_version():
    assert layout_hash() == GOLDEN["layout_hash"], "raise VERSION and write new vectors"
    assert sum(column.width for column in COLUMNS) + len(COLUMNS) - 1 == LINE_CHARS == 115
    assert LINE_CHARS + len(END) == LINE_BYTES == 117
    assert LINE_BYTES * BITS_A_BYTE == 1170


def test_the_checksum_is_the_one_that_is_named():
    assert checksum(b"123456789") == 0x29B1 == int(GOLDEN["check_123456789"], 16)


@given(LINES)
def test_every_line_survives(one):
    data = encode(one)
    assert len(data) == LINE_CHARS
    assert all(0x20 <= byte < 0x7F for byte in data)
    assert data.index(b"$") == 0 and data.count(b"$") == 1
    assert decode(data) == one


@given(LINES, st.integers(0, LINE_CHARS - 1), st.integers(1, 255))
def test_no_changed_byte_goes_unseen(one, place, change):
    data = bytearray(encode(one))
    data[place] ^= change
    with pytest.raises(LineError):
        decode(bytes(data))


@given(LINES, st.integers(0, LINE_CHARS - 3), st.integers(1, 2**16 - 1))
def test_no_burst_of_sixteen_bits_goes_unseen(one, place, change):
    data = bytearray(encode(one))
    data[place] ^= change >> 8
    data[place + 1] ^= change & 0xFF
    with pytest.raises(LineError):
        decode(bytes(data))


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_in_words(data):
    with pytest.raises(LineError) as caught:
        decode(data)
    assert caught.value.reason in ("torn", "noise", "version", "checksum", "columns")


@pytest.mark.parametrize(
    "wrong",
    [{"ptp_ns": 10**19}, {"raw": Raw(Timebase.TSC, 10**19)}, {"camera": 100_000}],
    ids=str,
)
def test_what_has_no_room_is_a_bug(wrong):
    with pytest.raises(ValueError):
        encode(replace(line(1), **wrong))


def test_a_box_that_has_no_room_is_a_bug():
    with pytest.raises(ValueError):
        encode(replace(line(1), box=Box(1, 0.5, 10_000.0, 0.0, 1.0, 1.0)))


def test_what_runs_over_is_said():
    told = decode(encode(replace(line(2**32 + 5, count=1001), people=5000, box=Box(1_000_004, 1.0, 0, 0, 1, 1))))
    assert (told.count, told.frame, told.people) == (1, 5, 999)
    assert told.box == Box(4, 0.999, 0.0, 0.0, 1.0, 1.0)


def test_the_document_shows_this_table():
    assert spec_text() in (REPO / "docs" / "uart.md").read_text()
