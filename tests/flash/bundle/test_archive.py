"""The bundle file: the same inputs give the same bytes, and what was damaged on the way is named."""

from __future__ import annotations

import os
import tarfile

import pytest
from click.testing import CliRunner

from flash.bundle.archive import check_archive, read_manifest, write_archive
from flash.bundle.create import describe
from flash.bundle.lock import Target
from flash.cli import flash
from tests.flash.bundle.bundles import inputs
from touchline.errors import InputError


@pytest.fixture
def made(tmp_path):
    sources = inputs(tmp_path / "inputs")
    manifest = describe(sources, Target("aarch64", "3.10"), "node")
    out = tmp_path / "bundle.tar"
    write_archive(out, manifest, sources)
    return out, manifest, sources


def test_the_same_inputs_give_the_same_bytes(made, tmp_path):
    out, manifest, sources = made
    for source in sources.values():
        if tmp_path in source.parents:
            os.utime(source, (1, 1))
            source.chmod(0o600)
    again = tmp_path / "again.tar"
    write_archive(again, manifest, dict(reversed(sources.items())))
    assert again.read_bytes() == out.read_bytes()


def test_members_belong_to_root_and_lie_in_one_folder(made):
    out, manifest, sources = made
    with tarfile.open(out) as tar:
        members = tar.getmembers()
    assert len(members) == len(sources) + 1
    assert {(one.uid, one.gid, one.uname, one.gname) for one in members} == {(0, 0, "", "")}
    assert {one.name.split("/")[0] for one in members} == {manifest.folder}
    assert [one.name for one in members if one.mode == 0o755] == [f"{manifest.folder}/install.py"]


def test_a_whole_bundle_is_good(made):
    out, manifest, _ = made
    assert check_archive(out) == read_manifest(out) == manifest


def test_one_flipped_bit_is_named(made):
    out, manifest, _ = made
    with tarfile.open(out) as tar:
        member = tar.getmember(f"{manifest.folder}/{manifest.own_wheel().path}")
    data = bytearray(out.read_bytes())
    data[member.offset_data + member.size // 2] ^= 1
    out.write_bytes(data)
    with pytest.raises(InputError, match=r"touchline-0\.1\.0-py3-none-any\.whl is not what was packed"):
        check_archive(out)


def test_a_copy_that_was_cut_short_is_refused(made):
    out, _, _ = made
    out.write_bytes(out.read_bytes()[: out.stat().st_size // 2])
    with pytest.raises(InputError):
        check_archive(out)


def test_another_file_is_no_bundle(tmp_path):
    path = tmp_path / "x.tar"
    path.write_bytes(b"hello")
    with pytest.raises(InputError, match="not a whole tar file"):
        check_archive(path)
    with tarfile.open(path, "w") as tar:
        tar.add(__file__, "test.py")
    with pytest.raises(InputError, match="not a Touchline bundle"):
        read_manifest(path)


def test_a_failed_write_leaves_nothing(made, tmp_path):
    _, manifest, sources = made
    with pytest.raises(FileNotFoundError):
        write_archive(tmp_path / "half.tar", manifest, {**sources, "wheels/gone": tmp_path / "gone"})
    assert not (tmp_path / "half.tar").exists()
    assert not list(tmp_path.glob(".*partial"))


def test_show_and_verify_from_the_command_line(made):
    out, manifest, _ = made
    shown = CliRunner().invoke(flash, ["bundle", "show", str(out)])
    assert manifest.release in shown.output
    assert manifest.own_wheel().path in shown.output
    verified = CliRunner().invoke(flash, ["bundle", "verify", str(out), "--json"])
    assert f'"release": "{manifest.release}"' in verified.output
