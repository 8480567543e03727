"""The order of a build, what it keeps and how it ends; the programs that do the work are fakes."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hil.virtual.image import build as build_module
from hil.virtual.image.build import Build, BuildRequest, build_image
from hil.virtual.image.bundle import Bundle
from hil.virtual.image.custom_kernel import STEP, custom_key
from hil.virtual.image.gather import Gatherer
from hil.virtual.image.image import FILES, Image, load_image
from hil.virtual.image.programs import DiskFull, Interrupted
from hil.virtual.image.steps import CACHED, DONE, FAILED, STARTED, Steps
from tests.hil.virtual.image.fakes import Events, put, resolution
from touchline.errors import ResourceError, TouchlineError


class World:
    """What the fakes do, to be changed by a test."""

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self.resolved = resolution()
        self.bundle_sha = "b0"
        self.root_work: Callable[[], None] = lambda: None
        self.kernel_work: Callable[[], None] = lambda: None
        self.made: list[str] = []

    def tree(self, job, _packages, _archives, out):
        self.made.append("root")
        self.programs = job.programs
        self.root_work()
        (out / "tree").mkdir()

    def kernel(self, _job, tree, _wanted, _built, out):
        self.made.append(f"kernel {tree.release}")
        self.kernel_work()
        (out / "lib" / "modules" / tree.release).mkdir(parents=True)
        (out / "vmlinuz").write_bytes(b"kernel")
        (out / "initrd-order").write_text("")

    def build(self, **changes: Any) -> tuple[Image, Events]:
        events = Events()
        return build_image(BuildRequest(self.cache, **changes), events), events


@pytest.fixture
def world(tmp_path, monkeypatch):
    world = World(tmp_path / "cache")
    for one in world.resolved.all:
        put(world.cache / "archives", one)

    def replace(**functions: Any) -> None:
        for name, function in functions.items():
            monkeypatch.setattr(build_module, name, function)

    monkeypatch.setattr(Gatherer, "gather", lambda _self, _steps: world.resolved)
    monkeypatch.setattr(
        Build, "_initrd", lambda _self, _job, _resolved, _kernel, part: (part / "initrd.gz").write_bytes(b"initrd")
    )
    replace(
        check_host=lambda _programs: None,
        check_space=lambda _folder, _steps: None,
        checkout_bundle=lambda cache, _steps: Bundle(cache / "bundle.tar", world.bundle_sha),
        find_qemu=lambda: SimpleNamespace(text="QEMU 7.2", program="qemu"),
        make_tree=world.tree,
        unpack_stock=lambda _job, resolved, _archives, _work: SimpleNamespace(
            release=resolved.kernel_release, build=None
        ),
        custom_tree=lambda folder: SimpleNamespace(release="6.12.9-hil", build=folder),
        build_modules=lambda *_words: [],
        keep_wanted=world.kernel,
        make_device_tree=lambda _job, _spec, part: (part / "orin.dtb").write_bytes(b"dtb"),
        assemble=lambda _job, _parts, tree: tree.mkdir() or "0.1.0-ab",
        make_ext4=lambda _job, _tree, out: out.write_bytes(b"root"),
    )
    return world


def test_a_build_and_its_second_time(world):
    image, events = world.build()
    assert [(event.step, event.state) for event in events if event.step in {"host", "boot files", "image"}] == [
        ("host", STARTED), ("host", DONE),
        ("boot files", STARTED), ("boot files", DONE),
        ("image", STARTED), ("image", DONE),
    ]  # fmt: skip
    assert events.states("root") == events.states("kernel") == [STARTED, DONE]
    assert sorted(path.name for path in image.folder.iterdir()) == sorted([*FILES, "manifest.json"])
    assert (image.kernel_release, image.touchline_release) == ("6.12.9-arm64", "0.1.0-ab")
    again, events = world.build()
    assert again == image
    assert events.states("image") == [CACHED]
    assert len(world.made) == 2


def test_another_bundle_takes_the_same_root_and_kernel(world):
    first, _ = world.build()
    world.bundle_sha = "b1"
    second, events = world.build()
    assert second.image_id != first.image_id
    assert events.states("root") == events.states("kernel") == [CACHED]
    assert load_image(world.cache).image_id == second.image_id


def test_going_back_to_an_older_image_makes_it_the_newest(world):
    first, _ = world.build()
    world.bundle_sha = "b1"
    world.build()
    world.bundle_sha = "b0"
    assert world.build()[0] == first
    assert load_image(world.cache) == first


def test_force_makes_everything_again_and_keeps_the_name(world):
    first, _ = world.build()
    second, events = world.build(force=True)
    assert second.image_id == first.image_id
    assert events.states("root") == [STARTED, DONE]
    assert len(world.made) == 4


def test_a_damaged_image_is_built_again(world):
    image, _ = world.build()
    image.root_img.write_bytes(b"ROOT")
    again, events = world.build()
    assert events.states("image") == [STARTED, DONE]
    assert load_image(world.cache).image_id == again.image_id


def test_old_images_packages_and_steps_go(world):
    old = world.cache / "archives" / "old_1_all.deb"
    old.write_bytes(b"")
    for number in range(3):
        world.bundle_sha = f"b{number}"
        world.build(keep=1)
    assert len(list((world.cache / "images").iterdir())) == 1
    assert not old.exists()


def test_one_failure_ends_the_other_and_is_the_one_that_is_told(world):
    begun = threading.Event()

    def slow():
        begun.set()
        with pytest.raises(Interrupted):
            world.programs.run(["sleep", "60"])
        raise Interrupted("the build was stopped")

    def wrong():
        assert begun.wait(60.0)
        raise TouchlineError("make failed (2): no rule")

    world.root_work, world.kernel_work = slow, wrong
    with pytest.raises(TouchlineError, match="no rule"):
        world.build()


def test_what_was_finished_stays_for_the_next_build(world):
    def wrong():
        raise TouchlineError("mmdebstrap failed")

    world.root_work = wrong
    with pytest.raises(TouchlineError, match="mmdebstrap"):
        world.build()
    world.root_work = lambda: None
    image, events = world.build()
    assert events.states("root") == [STARTED, DONE]
    assert not [path for path in (world.cache / "steps").iterdir() if path.name.startswith(".")]
    assert image.folder.exists()


@pytest.mark.parametrize(
    "fault", [OSError(errno.ENOSPC, "No space left on device"), DiskFull("tar found the disk full")]
)
def test_a_disk_that_runs_full_is_one_line_with_the_folder(world, fault):
    def full():
        raise fault

    world.root_work = full
    with pytest.raises(ResourceError, match=r"cache: the disk ran full \(\d+\.\d GB are free\)"):
        world.build()


def test_ctrl_c_stops_the_programs(world, monkeypatch):
    def interrupt(*_words):
        raise KeyboardInterrupt

    monkeypatch.setattr(build_module, "assemble", interrupt)
    with pytest.raises(KeyboardInterrupt):
        world.build()
    with pytest.raises(Interrupted):
        world.programs.run(["true"])


def test_lost_archives_are_told_before_anything_is_made(world):
    (world.cache / "archives" / world.resolved.root[0].file).unlink()
    with pytest.raises(TouchlineError, match="not at hand"):
        world.build()
    assert "root" not in world.made


def test_archives_that_no_step_needs_are_not_missed(world):
    world.build()
    for one in world.resolved.root:
        (world.cache / "archives" / one.file).unlink()
    world.bundle_sha = "b1"
    world.build()


def test_the_custom_kernel_must_have_been_made(world):
    with pytest.raises(ResourceError, match=r"custom kernel 6\.12\.9-1 is not built") as raised:
        world.build(kernel="custom")
    assert "kernel build" in raised.value.hint
    Steps(world.cache / "steps", Events()).make(STEP, custom_key(world.resolved), lambda _folder: None)
    image, _ = world.build(kernel="custom")
    assert image.kernel_release == "6.12.9-hil"
    stock, _ = world.build()
    assert stock.kernel_release == "6.12.9-arm64"
    assert stock.image_id != image.image_id


def test_space_is_asked_for_before_anything_starts(world, monkeypatch):
    asked: list[list[str]] = []
    monkeypatch.setattr(build_module, "check_space", lambda _folder, steps: asked.append(sorted(steps)))
    world.build()
    world.bundle_sha = "b1"
    world.build()
    assert asked == [
        ["bundle", "image", "kernel", "packages", "root"],
        ["image", "kernel", "root"],
        ["bundle", "packages"],
        ["image"],
    ]


def test_a_failed_step_is_told_as_failed(world):
    events = Events()

    def wrong():
        raise TouchlineError("make failed")

    world.kernel_work = wrong
    with pytest.raises(TouchlineError):
        build_image(BuildRequest(world.cache), events)
    assert events.states("kernel") == [STARTED, FAILED]
