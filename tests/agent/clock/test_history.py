"""The clock's history: bounded, torn lines survived, steps of the time kept out of the axis."""

from __future__ import annotations

import errno
import json
import logging
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock import history
from agent.clock.history import (
    HISTORY_FILE,
    MAX_LINE_BYTES,
    MAX_LINES,
    ROTATED_FILE,
    History,
    HistoryWriter,
    boot_mark,
    encode,
    history_of,
    read_history,
)
from touchline.timeline import ClockState

NOW_NS = 9_000_000_000_000
PTP_NS = 1_800_000_000_000_000_000
HOUR_S = 3_600.0


def row(second: float, **changes: Any) -> dict[str, Any]:
    """A line ``second`` before NOW_NS."""
    fields = {
        "at_ns": NOW_NS - int(second * 1e9),
        "boot": boot_mark(),
        "ptp_ns": PTP_NS - int(second * 1e9),
        "offset_ns": -12,
        "bound_ns": 84,
        "state": "locked",
        "epoch": 1,
        "path_delay_ns": 812.5,
        "residual_ns": 8.2,
        "grandmaster": "001122.fffe.334455",
    }
    return {**fields, **changes}


def read(lines: list[dict[str, Any]], seconds: float = HOUR_S, now_ns: int = NOW_NS) -> History:
    return history_of([encode(line) for line in lines], seconds, now_ns)


def test_what_is_written_is_read(tmp_path):
    writer = HistoryWriter(tmp_path)
    writer.add(row(2.0))
    writer.add({"ptp_ns": PTP_NS, "event": "clock_step", "severity": "error", "text": "off by a lot", "at_ns": NOW_NS})
    writer.close()
    found = read_history(tmp_path, 600.0, NOW_NS)
    (only,), (mark,) = found.rows, found.marks
    assert (only.at_s, only.offset_ns, only.bound_ns, only.path_delay_ns) == (-2.0, -12, 84, 812.5)
    assert only.state is ClockState.LOCKED and only.epoch == 1 and only.grandmaster == "001122.fffe.334455"
    assert (mark.at_s, mark.severity, mark.code, mark.text) == (0.0, "error", "clock_step", "off by a lot")
    assert found.newest_ptp_ns == PTP_NS and found.silent_s == 0.0 and found.damaged == writer.lost == 0


def test_the_writer_adds_the_monotonic_clock_and_the_boot(tmp_path):
    HistoryWriter(tmp_path).add({"ptp_ns": PTP_NS, "bound_ns": 1, "state": "locked", "epoch": 1})
    line = json.loads((tmp_path / HISTORY_FILE).read_text())
    assert line["at_ns"] > 0 and line["boot"] == boot_mark() and len(boot_mark()) == 8
    silent_s = read_history(tmp_path, 600.0).silent_s
    assert silent_s is not None and silent_s < 60.0


def test_it_never_grows_beyond_two_files(tmp_path):
    writer = HistoryWriter(tmp_path)
    for second in range(2 * MAX_LINES + 500):
        writer.add(row(9_000 - second))
    counts = [(tmp_path / name).read_bytes().count(b"\n") for name in (ROTATED_FILE, HISTORY_FILE)]
    assert counts == [MAX_LINES, 500] and len(list(tmp_path.iterdir())) == 2
    found = read_history(tmp_path, 1e6, NOW_NS)
    assert len(found.rows) == MAX_LINES + 500 and found.damaged == 0
    assert {round(b.at_s - a.at_s) for a, b in pairwise(found.rows)} == {1}


def test_a_later_life_goes_on_counting_and_keeps_clear_of_a_torn_line(tmp_path):
    first = HistoryWriter(tmp_path)
    for second in range(10):
        first.add(row(20 - second))
    path = tmp_path / HISTORY_FILE
    path.write_bytes(path.read_bytes()[:-40])
    second_life = HistoryWriter(tmp_path)
    assert second_life._lines == 9
    second_life.add(row(1.0))
    found = read_history(tmp_path, 600.0, NOW_NS)
    assert len(found.rows) == 10 and found.damaged == 1
    assert found.rows[-1].at_s == 0.0 and found.silent_s == 1.0


def test_a_file_of_somebody_else_is_rotated_away_and_read_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(history, "_MAX_BYTES", 10_000)
    (tmp_path / HISTORY_FILE).write_bytes(b"x" * 30_000)
    assert read_history(tmp_path, 600.0).damaged == 0, "the one line there is was cut"
    writer = HistoryWriter(tmp_path)
    writer.add(row(1.0))
    assert (tmp_path / ROTATED_FILE).stat().st_size == 30_000
    assert len(read_history(tmp_path, 600.0, NOW_NS).rows) == 1


def test_a_full_disk_is_said_once_and_ends_nothing(tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "agent.clock")
    writer = HistoryWriter(tmp_path)
    writer.add(row(9.0))

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr(os, "write", full)
        for second in range(5):
            writer.add(row(8.0 - second))
    writer.add(row(2.0))
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO"]
    assert "No space left" in caplog.records[0].message and "5 lines were lost" in caplog.records[1].message
    found = read_history(tmp_path, 600.0, NOW_NS)
    assert [line.at_s for line in found.rows] == [-7.0, 0.0] and writer.lost == 5


def test_half_a_line_is_not_joined_by_the_next(tmp_path, monkeypatch):
    writer, real = HistoryWriter(tmp_path), os.write
    with monkeypatch.context() as context:
        context.setattr(os, "write", lambda file, raw: real(file, raw[:30]))
        writer.add(row(3.0))
    writer.add(row(2.0))
    found = read_history(tmp_path, 600.0, NOW_NS)
    assert len(found.rows) == 1 and found.damaged == 1 and writer.lost == 1


def test_what_no_line_can_hold_is_lost_and_not_fatal(tmp_path):
    writer = HistoryWriter(tmp_path)
    writer.add({"ptp_ns": PTP_NS, "thing": object()})
    writer.add({"ptp_ns": PTP_NS, **{f"key{number}": "x" * 100 for number in range(20)}})
    HistoryWriter(tmp_path / "no such folder").add(row(1.0))
    assert writer.lost == 2 and not (tmp_path / HISTORY_FILE).exists()


def test_values_that_are_no_numbers_become_null():
    line = json.loads(encode({"offset_ns": float("nan"), "bound_ns": float("inf"), "text": "y" * 5_000}))
    assert line["offset_ns"] is line["bound_ns"] is None and len(line["text"]) == 200


def test_a_step_of_the_time_does_not_bend_the_axis():
    lines = [row(3.0), row(2.0), row(1.0, ptp_ns=5, epoch=2), row(0.0, ptp_ns=1_000_000_005, epoch=2)]
    assert [line.at_s for line in read(lines).rows] == [-3.0, -2.0, -1.0, 0.0]


def test_across_a_reboot_the_stamps_themselves_tell_the_distance():
    lines = [row(100.0, at_ns=10**12, boot="earlier0"), row(1.0, at_ns=50), row(0.0, at_ns=1_000_000_050)]
    found = read(lines, now_ns=2_000_000_050)
    assert [round(line.at_s, 6) for line in found.rows] == [-100.0, -1.0, 0.0] and found.silent_s == 1.0
    assert read([row(1.0, boot="earlier0")]).silent_s is None


def test_the_window_ends_now_or_with_the_newest_line_when_that_is_older():
    lines = [row(900.0), row(550.0), row(500.0)]
    found = read(lines, seconds=600.0)
    assert found.end_s == pytest.approx(500.0) and [round(line.at_s) for line in found.rows] == [-50, 0]
    found = read(lines, seconds=450.0)
    assert found.end_s == 0.0 and [round(line.at_s) for line in found.rows] == [-400, -50, 0]
    assert found.silent_s == pytest.approx(500.0)


def test_an_event_before_the_time_was_known_does_not_hide_it():
    event = {"at_ns": NOW_NS, "boot": boot_mark(), "ptp_ns": 0, "event": "clock_step", "severity": "odd", "text": "x"}
    found = read([row(4.0), event])
    assert found.newest_ptp_ns == PTP_NS and found.marks[0].severity == "info"
    assert read([event]).newest_ptp_ns == 0 and read([event]).rows == []


def test_a_rotation_between_the_two_looks_loses_nothing(tmp_path, monkeypatch):
    writer = HistoryWriter(tmp_path)
    for second in range(3):
        writer.add(row(9.0 - second))
    real = history._open
    looks: list[Path] = []

    def open_and_rotate(path):
        file = real(path)
        if not looks:
            looks.append(path)
            writer._lines = MAX_LINES
            writer.add(row(1.0))
        return file

    monkeypatch.setattr(history, "_open", open_and_rotate)
    assert [round(line.at_s) for line in read_history(tmp_path, 600.0, NOW_NS).rows] == [-8, -7, -6, 0]


def test_no_file_is_an_empty_history(tmp_path):
    found = read_history(tmp_path / "nothing", 600.0)
    assert found.rows == [] and found.marks == [] and found.figures()["bound_max_ns"] is None


def test_figures():
    found = read([row(3.0), row(2.0, offset_ns=None, state="holdover", bound_ns=900), row(1.0, offset_ns=12)])
    figures = found.figures()
    assert figures["share_pct"] == {"locked": 66.67, "holdover": 33.33, "unlocked": 0.0}
    assert figures["offset_rms_ns"] == 12.0 and figures["bound_max_ns"] == 900 and figures["bound_median_ns"] == 84


@pytest.mark.parametrize(
    "raw",
    [b"", b"[1]", b"7", b"{", b"\xff\xfe", b'{"ptp_ns": 1}', b'{"ptp_ns": true, "bound_ns": 1, "state": "locked"}']
    + [encode(row(0.0, **change)) for change in (
        {"state": "fine"}, {"state": ["locked"]}, {"bound_ns": -1}, {"bound_ns": None}, {"epoch": 1.5}, {"ptp_ns": -4},
        {"ptp_ns": 1 << 63}, {"at_ns": "soon"}, {"boot": 7}, {"bound_ns": 1e300},
    )],
)  # fmt: skip
def test_damaged_lines_are_counted(raw):
    found = history_of([raw, encode(row(1.0))], 600.0, NOW_NS)
    assert len(found.rows) == 1 and found.damaged == 1


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_no_bytes_are_too_odd(lines):
    found = history_of(lines, 600.0, NOW_NS)
    assert len(found.rows) + len(found.marks) + found.damaged <= len(lines)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
KEYS = st.sampled_from(["at_ns", "boot", "ptp_ns", "event", "severity", "text", "offset_ns", "state", "grandmaster"])


@given(st.lists(st.dictionaries(KEYS, PLAIN | st.lists(PLAIN, max_size=2)), max_size=6))
def test_no_values_are_too_odd(changes):
    lines = [json.dumps({**row(6.0 - place), **change}).encode() for place, change in enumerate(changes)]
    found = history_of(lines, 1e12, NOW_NS)
    assert len(found.rows) + len(found.marks) + found.damaged == len(lines)
    assert all(line.at_s <= 0.0 for line in found.rows)
    assert all(letter.isprintable() for mark in found.marks for letter in mark.code + mark.text)


@given(st.text(), st.floats() | st.integers(-(10**17), 10**17))
def test_every_line_fits_and_comes_back(text, offset):
    raw = encode(row(1.0, grandmaster=text, offset_ns=offset))
    assert len(raw) <= MAX_LINE_BYTES and raw.count(b"\n") == 1
    assert len(history_of([raw], 600.0, NOW_NS).rows) == 1
