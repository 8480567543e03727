"""What a drill of root writes belongs to the service; nobody's rights grow by it."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from failover.history import HistoryWriter, read_history
from failover.owned import as_owner_of
from failover.service.drill import keep
from tests.failover.drills import example

SERVICE = 47_114  # nobody's number
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root writes as somebody else")


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder that another user owns, where that user can come (pytest's own is root's alone)."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    (folder / "state").mkdir(mode=0o750)
    os.chown(folder / "state", SERVICE, SERVICE)
    yield folder / "state"
    shutil.rmtree(folder)


def owners(folder: Path) -> set[tuple[int, int]]:
    return {(path.lstat().st_uid, path.lstat().st_gid) for path in folder.rglob("*")}


@as_root
def test_the_report_the_picture_and_the_history_of_a_drill_by_root_are_the_services(state: Path) -> None:
    path = keep(example(), state / "failover")
    assert owners(state) == {(SERVICE, SERVICE)}
    assert json.loads(path.read_text())["kind"] == "drill" and path.with_suffix(".svg").exists()
    assert [entry["kind"] for entry in read_history(state / "failover").entries] == ["drill"]
    assert (os.geteuid(), os.getegid()) == (0, 0)
    with as_owner_of(state):  # as the service, later
        writer = HistoryWriter(state / "failover")
        writer.add("note", {"severity": "info", "code": "c", "text": "t"})
        writer.close(60.0)
    assert writer.lost == 0 and owners(state) == {(SERVICE, SERVICE)}


@as_root
def test_a_link_of_the_owners_leads_nowhere_that_the_owner_may_not_go(state: Path) -> None:
    secret = state.parent / "root-only"
    secret.write_text("root's")
    secret.chmod(0o600)
    (state / "failover").mkdir()
    os.chown(state / "failover", SERVICE, SERVICE)
    (state / "failover" / "history.jsonl").symlink_to(secret)
    keep(example(), state / "failover")
    assert secret.read_text() == "root's" and secret.stat().st_uid == 0


@as_root
def test_a_link_of_the_services_user_does_not_lead_root_into_roots_own_folder(state: Path) -> None:
    """The service's user puts a link to a folder of root's where its own should be."""
    mine = state.parent / "root-only"
    mine.mkdir(mode=0o700)
    for link in (state / "failover", state / "failover" / "drills"):
        link.symlink_to(mine)
        os.chown(link, SERVICE, SERVICE, follow_symlinks=False)
        with pytest.raises(PermissionError):
            keep(example(), state / "failover")
        assert not list(mine.iterdir())
        link.unlink()
        (state / "failover").mkdir(exist_ok=True)
        os.chown(state / "failover", SERVICE, SERVICE)


@as_root
def test_a_link_of_roots_is_followed_and_one_in_a_circle_is_an_error(state: Path) -> None:
    (state.parent / "var").symlink_to("state")
    path = keep(example(), state.parent / "var" / "failover")
    assert path.exists() and owners(state) == {(SERVICE, SERVICE)}
    (state.parent / "round").symlink_to("round")
    with pytest.raises(OSError, match="symbolic"), as_owner_of(state.parent / "round" / "failover"):
        pass


@as_root
def test_no_group_of_roots_goes_along_and_all_come_back(state: Path) -> None:
    before = os.getgroups()
    try:
        os.setgroups([0, 4, 27])
        with as_owner_of(state):
            assert (os.geteuid(), os.getegid(), os.getgroups()) == (SERVICE, SERVICE, [])
        assert sorted(os.getgroups()) == [0, 4, 27]
    finally:
        os.setgroups(before)


@as_root
def test_root_is_root_again_whatever_happens(state: Path) -> None:
    with pytest.raises(PermissionError), as_owner_of(state / "not" / "there"):
        (state.parent / "elsewhere").write_text("")
    assert (os.geteuid(), os.getegid()) == (0, 0)


def test_in_a_folder_of_ones_own_nothing_changes(tmp_path: Path) -> None:
    with as_owner_of(tmp_path):
        (tmp_path / "file").write_text("")
    assert (tmp_path / "file").stat().st_uid == os.geteuid()
