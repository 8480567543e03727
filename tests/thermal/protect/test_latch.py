"""The latch: on the disk, whole or not at all, and latched in doubt."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermal.protect.latch import FILE, Latch, LatchFile, decode, encode

EVENT = {"at": "2026-11-21T10:00:00Z", "kind": "shaken", "peak_g": 1.2}


def test_no_file_is_no_latch(tmp_path):
    assert LatchFile(tmp_path).read() == Latch(False)


def test_set_is_read_by_the_next_life_and_clear_ends_it(tmp_path):
    LatchFile(tmp_path / "state").set(EVENT)
    assert LatchFile(tmp_path / "state").read() == Latch(True, EVENT)
    LatchFile(tmp_path / "state").clear()
    assert LatchFile(tmp_path / "state").read() == Latch(False)
    assert list((tmp_path / "state").iterdir()) == []


def test_a_latch_that_was_being_written_counts(tmp_path):
    (tmp_path / f"{FILE}.new").write_text("{")
    found = LatchFile(tmp_path).read()
    assert found.latched
    assert "not finished" in found.damage
    LatchFile(tmp_path).clear()
    assert not LatchFile(tmp_path).read().latched


def test_killed_at_any_step_it_is_latched_or_as_before(tmp_path, monkeypatch):
    """Every system call of set() is made the last one in turn."""

    class Killed(Exception):
        pass

    def dies_at(step: int) -> Any:
        count = iter(range(100))

        def wrap(call):
            def wrapped(*args, **kwargs):
                if next(count) == step:
                    raise Killed
                return call(*args, **kwargs)

            return wrapped

        return wrap

    for step in range(8):
        folder = tmp_path / str(step)
        folder.mkdir()
        with monkeypatch.context() as patch:
            wrap = dies_at(step)
            for name in ("open", "write", "fsync", "close", "replace", "rename"):
                patch.setattr(os, name, wrap(getattr(os, name)))
            with suppress(Killed):
                LatchFile(folder).set(EVENT)
        found = LatchFile(folder).read()
        assert found.latched or not list(folder.iterdir())


def test_it_is_synced_before_it_has_its_name(tmp_path, monkeypatch):
    calls: list[str] = []

    def noted(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            return real(*args, **kwargs)

        return call

    monkeypatch.setattr(os, "fsync", noted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", noted("rename", Path.replace))
    LatchFile(tmp_path).set(EVENT)
    assert calls == ["fsync", "rename", "fsync"]


def test_a_folder_in_its_place_is_latched(tmp_path):
    (tmp_path / FILE).mkdir()
    assert LatchFile(tmp_path).read().latched


@given(st.binary(max_size=300))
def test_whatever_lies_there_is_latched(raw):
    assert decode(raw).latched


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_a_changed_byte_is_latched_and_said(at, byte):
    raw = bytearray(encode(EVENT))
    at %= len(raw)
    if raw[at] == byte:
        return
    raw[at] = byte
    found = decode(bytes(raw))
    assert found.latched
    same = not found.damage
    assert not same or found.event == EVENT, "a changed byte that changes no meaning is white space"


def test_a_long_event_is_refused():
    with pytest.raises(ValueError, match="are allowed"):
        encode({"kind": "x" * 10_000})
    assert json.loads(encode(EVENT))["event"] == EVENT
