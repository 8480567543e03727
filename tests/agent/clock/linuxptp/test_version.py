"""The ptp4l found: its version read, a missing, old or mute one refused with the fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.clock.linuxptp import Version, find_ptp4l, parse_version, version
from touchline.errors import ResourceError


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("3.1.1\n", Version(3, 1, 1)),
        ("4.2", Version(4, 2)),
        ("4.0\n", Version(4, 0)),
        ("3.1-00042-gdeadbee", Version(3, 1)),
        ("4.4-rc1", Version(4, 4)),
        ("1.9.2", Version(1, 9, 2)),
        ("10.11", Version(10, 11)),
    ],
)
def test_versions_as_ptp4l_prints_them(text, wanted):
    assert parse_version(text) == wanted


@pytest.mark.parametrize("text", ["", "ptp4l", "4", "v4.2", "4.", "4.2.1.3", "99999.1", "missing"])
def test_what_is_no_version(text):
    with pytest.raises(ValueError, match="no version"):
        parse_version(text)


@given(st.text(max_size=60))
def test_any_text_is_a_version_or_a_value_error(text):
    try:
        parse_version(text)
    except ValueError as error:
        assert "no version of linuxptp" in str(error)


@given(*[st.integers(0, 99)] * 3)
def test_a_version_reads_back_what_it_prints(major, minor, patch):
    assert parse_version(str(Version(major, minor, patch))) == Version(major, minor, patch)


def test_versions_are_ordered():
    assert Version(3, 1) < Version(3, 1, 1) < Version(4, 0) < Version(4, 2) < Version(10, 0)


def program(tmp_path: Path, body: str) -> Path:
    path = tmp_path / "ptp4l"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_program_is_asked_for_its_version(tmp_path):
    path = program(tmp_path, '[ "$1" = -v ] && echo 4.2')
    found = find_ptp4l(path)
    assert (found.path, found.version) == (path, Version(4, 2))


def test_an_old_one_is_refused_by_name(tmp_path):
    path = program(tmp_path, "echo 1.9.2")
    with pytest.raises(ResourceError, match=r"is linuxptp 1\.9\.2, and 3\.1 is the oldest") as caught:
        find_ptp4l(path)
    assert "JetPack 5" in caught.value.hint


def test_one_that_says_no_version_is_refused(tmp_path):
    with pytest.raises(ResourceError, match="is no version of linuxptp"):
        find_ptp4l(program(tmp_path, "echo hello"))


def test_the_units_program_counts_and_else_the_path(tmp_path, monkeypatch):
    units = program(tmp_path, "echo 3.1.1")
    (tmp_path / "bin").mkdir()
    in_path = program(tmp_path / "bin", "echo 4.2")
    monkeypatch.setenv("PATH", str(in_path.parent), prepend=":")
    monkeypatch.setattr(version, "UNIT_PTP4L", units)
    assert find_ptp4l().version == Version(3, 1, 1)
    monkeypatch.setattr(version, "UNIT_PTP4L", tmp_path / "none")
    assert find_ptp4l().version == Version(4, 2)


def test_a_missing_one_names_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(version, "UNIT_PTP4L", tmp_path / "none")
    monkeypatch.setattr("touchline.run.shutil.which", lambda *_, **__: None)
    with pytest.raises(ResourceError) as caught:
        find_ptp4l()
    assert caught.value.hint == "apt install linuxptp"
