"""The manifest: closed, safe, the same bytes for the same contents; damage is named."""

from __future__ import annotations

import json
import re

import pytest

from flash.bundle.manifest import check_folder, parse_manifest
from tests.flash.bundle.bundles import bundle
from touchline.errors import InputError


def test_it_reads_back_what_it_wrote(tmp_path):
    _, manifest = bundle(tmp_path)
    assert parse_manifest(manifest.to_json()) == manifest
    assert re.fullmatch(r"0\.1\.0-[0-9a-f]{8}", manifest.release)


def test_another_content_is_another_release(tmp_path):
    _, one = bundle(tmp_path / "a", "one")
    _, again = bundle(tmp_path / "b", "one")
    _, two = bundle(tmp_path / "c", "two")
    assert one.release == again.release != two.release


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema": "touchline.bundle/9"}, "not a bundle of schema"),
        ({"colour": "red"}, "cannot be read"),
        ({"version": "../../etc"}, "version = '../../etc' is not allowed"),
        ({"python": "2.7"}, "python = '2.7' is not allowed"),
        ({"arch": 7}, "arch = 7 is not allowed"),
        ({"files": [{"path": "../x", "size_bytes": 1, "sha256": ""}]}, "leads out of the bundle"),
        ({"files": [{"path": "/etc/x", "size_bytes": 1, "sha256": ""}]}, "leads out of the bundle"),
        ({"files": [{"path": "x"}]}, "cannot be read"),
        ({"files": None}, "cannot be read"),
    ],
)
def test_a_strange_manifest_is_refused(tmp_path, change, said):
    _, manifest = bundle(tmp_path)
    with pytest.raises(InputError, match=re.escape(said)):
        parse_manifest(json.dumps({**json.loads(manifest.to_json()), **change}).encode())


def test_garbage_is_refused():
    with pytest.raises(InputError, match="cannot be read"):
        parse_manifest(b"\xff\x00")


def test_damage_is_named(tmp_path):
    folder, manifest = bundle(tmp_path)
    check_folder(manifest, folder)
    victim = folder / manifest.own_wheel().path
    whole = victim.read_bytes()
    victim.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
    with pytest.raises(InputError, match=r"wheels/touchline-0\.1\.0.* is not what was packed"):
        check_folder(manifest, folder)
    victim.write_bytes(whole[:-1])
    with pytest.raises(InputError, match="cut short"):
        check_folder(manifest, folder)
    victim.unlink()
    with pytest.raises(InputError, match="is missing from the bundle"):
        check_folder(manifest, folder)
