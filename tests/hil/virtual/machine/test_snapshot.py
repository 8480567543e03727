"""When a snapshot is refused, and that an interrupted one leaves nothing."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hil.virtual.machine.snapshot import META_FILE, STATE_FILE, Snapshot, freeze, load_snapshot, thaw
from tests.hil.virtual.machine.test_qemu import SPEC
from touchline.errors import HardwareError, InputError, ResourceError

QEMU = "QEMU emulator version 7.2.22"


class FakeMonitor:
    """Writes the state file as the migration would."""

    def __init__(self, outcome: str = "completed") -> None:
        self.outcome = outcome

    def __call__(self, command: str, **arguments: Any) -> Any:
        if command == "migrate":
            cat, _, path = shlex.split(arguments["uri"].removeprefix("exec:"))
            assert cat == "cat"
            Path(path).write_bytes(b"memory")
        return {"status": self.outcome, "error-desc": "no space"} if command == "query-migrate" else {}


@pytest.fixture
def spec(tmp_path):
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    (run_dir / "root.qcow2").write_bytes(b"root")
    (run_dir / "data.img").write_bytes(b"data" * 1000)
    return replace(SPEC, run_dir=run_dir)


def frozen(spec, folder: Path, monitor: Any = None) -> Snapshot:
    return freeze(
        monitor or FakeMonitor(),
        spec,
        folder,
        plugged=True,
        qemu=QEMU,
        created_utc="2026-11-21T10:00:00Z",
        running=lambda: True,
    )


def test_a_snapshot_is_read_back_and_thawed(spec, tmp_path):
    made = frozen(spec, tmp_path / "it's a snap")
    read = load_snapshot(tmp_path / "it's a snap")
    assert read == made
    read.verify()
    read.check(spec, qemu=QEMU, plugged=True)
    other = replace(spec, run_dir=tmp_path / "other" / "run")
    incoming = thaw(read, other)
    assert incoming == f"exec:cat '{tmp_path}/it'\"'\"'s a snap/memory.state'"
    assert (other.run_dir / "data.img").read_bytes() == b"data" * 1000
    assert (other.run_dir / "root.qcow2").read_bytes() == b"root"


@pytest.mark.parametrize(
    ("change", "qemu", "plugged", "message"),
    [
        ({}, "QEMU emulator version 10.0.2", True, "made with QEMU 'QEMU emulator version 7"),
        ({"image_id": "4567"}, QEMU, True, "made with image '0123', this is '4567'"),
        ({"seat": "b"}, QEMU, True, "made with seat 'a', this is 'b'"),
        ({"smp": 4}, QEMU, True, "other devices"),
        ({}, QEMU, False, "made with a network — restore it with one"),
    ],
)
def test_another_machine_is_refused(spec, tmp_path, *, change, qemu, plugged, message):
    made = frozen(spec, tmp_path / "snap")
    with pytest.raises(InputError, match=message):
        made.check(replace(spec, **change), qemu=qemu, plugged=plugged)


def test_a_damaged_snapshot_is_refused(spec, tmp_path):
    made = frozen(spec, tmp_path / "snap")
    (made.folder / STATE_FILE).write_bytes(b"memorY")
    made.check(spec, qemu=QEMU, plugged=True)
    with pytest.raises(InputError, match=r"memory\.state is corrupt"):
        made.verify()
    (made.folder / STATE_FILE).write_bytes(b"mem")
    with pytest.raises(InputError, match=r"memory\.state is missing or cut short"):
        made.check(spec, qemu=QEMU, plugged=True)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "touchline.virtual-snapshot/1"}', '{"schema": 2}'])
def test_a_foreign_description_is_refused(tmp_path, text):
    (tmp_path / META_FILE).write_text(text)
    with pytest.raises(InputError):
        load_snapshot(tmp_path)


def test_a_missing_snapshot_is_said(tmp_path):
    with pytest.raises(InputError, match="there is no snapshot in"):
        load_snapshot(tmp_path / "none")


def test_an_existing_name_is_not_overwritten(spec, tmp_path):
    frozen(spec, tmp_path / "snap")
    with pytest.raises(ResourceError, match="exists"):
        frozen(spec, tmp_path / "snap")


def test_a_failed_snapshot_leaves_nothing(spec, tmp_path):
    before = sorted(tmp_path.iterdir())
    with pytest.raises(HardwareError, match="could not write the snapshot: no space"):
        frozen(spec, tmp_path / "snap", FakeMonitor("failed"))
    assert sorted(tmp_path.iterdir()) == before


def test_the_description_names_no_path_of_this_host(spec, tmp_path):
    made = frozen(spec, tmp_path / "snap")
    text = (made.folder / META_FILE).read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["created_utc"] == "2026-11-21T10:00:00Z"
