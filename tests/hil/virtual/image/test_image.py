"""The finished image: found, refused, dropped."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hil.virtual.image.image import (
    FILES,
    MANIFEST,
    default_cache,
    drop_old,
    images_folder,
    load_image,
    remember,
    sweep_images,
    write_manifest,
)
from touchline.errors import InputError, ResourceError


def image(cache: Path, image_id: str, age_s: float) -> Path:
    folder = images_folder(cache) / image_id
    folder.mkdir(parents=True)
    for name in FILES:
        (folder / name).write_bytes(name.encode() * 10)
    facts = {"image_id": image_id, "kernel_release": "6.12", "touchline_release": "0.1.0-ab", "created_utc": "now"}
    write_manifest(folder, facts)
    os.utime(folder / MANIFEST, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_without_an_image_the_command_that_builds_one_is_named(tmp_path):
    with pytest.raises(ResourceError, match="no virtual node image") as raised:
        load_image(tmp_path)
    assert raised.value.hint == "touchline hil virtual build"
    image(tmp_path, "aa", 0)
    with pytest.raises(ResourceError, match="no image bb"):
        load_image(tmp_path, "bb")


def test_the_newest_wins_or_the_one_named(tmp_path):
    image(tmp_path, "old", 100)
    folder = image(tmp_path, "new", 1)
    image(tmp_path, ".half.part", 0)
    assert load_image(tmp_path).image_id == "new"
    assert load_image(tmp_path, "old").image_id == "old"
    found = load_image(tmp_path)
    assert (found.kernel, found.initrd, found.dtb, found.root_img) == tuple(folder / name for name in FILES)
    assert found.size_bytes >= sum(len(name) * 10 for name in FILES)


def test_an_image_taken_again_becomes_the_newest(tmp_path):
    image(tmp_path, "old", 100)
    image(tmp_path, "new", 1)
    remember(load_image(tmp_path, "old"))
    assert load_image(tmp_path).image_id == "old"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"schema": "touchline.virtual-image/1"}'])
def test_a_corrupt_manifest_is_told_with_its_path(tmp_path, text):
    folder = image(tmp_path, "aa", 0)
    (folder / MANIFEST).write_text(text)
    with pytest.raises(InputError, match=r"aa/manifest\.json is corrupt"):
        load_image(tmp_path)


def test_an_image_of_another_version_is_told(tmp_path):
    folder = image(tmp_path, "aa", 0)
    (folder / MANIFEST).write_text(json.dumps({**json.loads((folder / MANIFEST).read_text()), "schema": "x/9"}))
    with pytest.raises(InputError, match="another version"):
        load_image(tmp_path)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_cut_or_changed_file_is_named(tmp_path, name):
    file = image(tmp_path, "aa", 0) / name
    data = file.read_bytes()
    file.write_bytes(b"X" + data[1:])
    load_image(tmp_path, verify=False)
    with pytest.raises(InputError, match=f"{name} is not what was built") as raised:
        load_image(tmp_path)
    assert "--force" in raised.value.hint
    file.write_bytes(data[:-1])
    with pytest.raises(InputError, match=name):
        load_image(tmp_path, verify=False)
    file.unlink()
    with pytest.raises(InputError, match=name):
        load_image(tmp_path, verify=False)


def test_old_images_and_leftovers_are_dropped(tmp_path):
    for age, name in enumerate(("first", "second", "third")):
        image(tmp_path, name, age)
    (images_folder(tmp_path) / ".x.part").mkdir()
    assert drop_old(tmp_path, 2) == [".x.part", "third"]
    assert drop_old(tmp_path, 0) == ["second"]
    assert load_image(tmp_path).image_id == "first"
    assert drop_old(tmp_path / "empty", 1) == []


def test_sweep_takes_leftovers_only(tmp_path):
    sweep_images(tmp_path)
    image(tmp_path, "aa", 0)
    (images_folder(tmp_path) / ".bb.part" / "tree").mkdir(parents=True)
    sweep_images(tmp_path)
    assert [path.name for path in images_folder(tmp_path).iterdir()] == ["aa"]


def test_the_cache_follows_the_users_choice(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "touchline" / "virtual"
