"""The two copies of the encoder's program (FOV-5)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from agent.record import spare
from agent.record.spare import choose, digest_file, judge, primary_of, sha256_of

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a file of root's takes root")


@pytest.fixture
def copies(tmp_path):
    """Both as they should be, but for the attribute, which not every file system has."""
    primary, second = tmp_path / "ffmpeg", tmp_path / "spare" / "ffmpeg"
    second.parent.mkdir()
    shutil.copy("/bin/true", primary)
    primary.chmod(0o755)
    shutil.copy("/bin/true", second)
    second.chmod(0o500)
    digest_file(second).write_text(sha256_of(second) + "  ffmpeg\n")
    return primary, second


def codes(primary: Path, second: Path) -> list[str]:
    return [finding.code for finding in judge(primary, second) if finding.code != "spare_attribute"]


@needs_root
def test_two_good_copies(copies, monkeypatch):
    monkeypatch.setattr(spare, "immutable", lambda path: True)
    assert judge(*copies) == []


@needs_root
@pytest.mark.parametrize(("attribute", "severity"), [(False, "error"), (None, "warning")])
def test_an_attribute_that_is_missing_or_unknown_is_told(copies, monkeypatch, attribute, severity):
    monkeypatch.setattr(spare, "immutable", lambda path: attribute)
    assert [(one.severity, one.code) for one in judge(*copies)] == [(severity, "spare_attribute")]


def _fails(argv: list[str]) -> bool:
    return subprocess.run(argv, capture_output=True, check=False).returncode != 0


@needs_root
def test_the_real_attribute_is_seen(copies):
    _, second = copies
    if spare.immutable(second) is None or _fails(["chattr", "+i", str(second)]):
        pytest.skip("this file system has no immutable attribute")
    try:
        assert spare.immutable(second) is True
    finally:
        subprocess.run(["chattr", "-i", second], check=True)
    assert spare.immutable(second) is False


@needs_root
def test_owner_mode_and_content_are_looked_at(copies):
    primary, second = copies
    second.chmod(0o755)
    assert codes(primary, second) == ["spare_mode"]
    second.chmod(0o500)
    os.chown(second, 12345, -1)
    assert codes(primary, second) == ["spare_owner"]
    os.chown(second, 0, -1)
    primary.write_bytes(primary.read_bytes() + b"x")
    assert codes(primary, second) == ["digest_differs"]
    second.write_bytes(primary.read_bytes())
    assert codes(primary, second) == ["spare_changed"]
    digest_file(second).write_text("no digest")
    assert codes(primary, second) == ["digest_file"]


def test_a_link_is_no_copy(copies):
    primary, second = copies
    second.unlink()
    second.symlink_to(primary)
    assert codes(primary, second) == ["spare_link"]


def test_the_first_copy_is_the_configured_one_or_that_in_the_path(monkeypatch):
    assert primary_of("/opt/ffmpeg") == Path("/opt/ffmpeg")
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert primary_of("") == Path("/usr/bin/ffmpeg")


def test_missing_copies_are_told_with_their_fix(copies):
    primary, second = copies
    second.unlink()
    assert codes(primary, second) == ["spare_missing"]
    primary.chmod(0o644)
    assert codes(primary, second) == ["primary_missing", "spare_missing"]
    assert all(finding.fix for finding in judge(primary, second))


def test_a_good_first_copy_is_taken_without_a_word(copies):
    primary, second = copies
    found = choose(primary, second)
    assert found is not None and (found.program, found.is_spare, found.complaints) == (str(primary), False, ())
    assert choose(primary, None) is not None


@pytest.mark.parametrize("fault", ["gone", "mode", "changed"])
def test_a_bad_first_copy_gives_way_to_the_spare_loudly(copies, fault):
    primary, second = copies
    if fault == "gone":
        primary.unlink()
    elif fault == "mode":
        primary.chmod(0o644)
    else:
        primary.write_bytes(b"#!/bin/false\n")
    found = choose(primary, second)
    assert found is not None and (found.program, found.is_spare) == (str(second), True)
    assert len(found.complaints) == 1 and str(second) in found.complaints[0]


def test_a_changed_first_copy_is_used_where_the_spare_may_not_be_run_by_us(copies):
    primary, second = copies
    primary.write_bytes(primary.read_bytes() + b"upgraded")
    second.chmod(0o400)  # as 0500 of root's is to us
    found = choose(primary, second)
    assert found is not None and (found.program, found.is_spare) == (str(primary), False)
    assert "used as it is" in found.complaints[0]


def test_without_a_digest_and_without_rights_it_says_that_nothing_was_checked(copies):
    primary, second = copies
    digest_file(second).unlink()
    second.chmod(0o400)
    found = choose(primary, second)
    assert found is not None and "cannot be checked" in found.complaints[0]


def test_no_copy_that_runs_is_none(copies):
    primary, second = copies
    primary.unlink()
    assert choose(primary, None) is None
    second.unlink()
    assert choose(primary, second) is None
