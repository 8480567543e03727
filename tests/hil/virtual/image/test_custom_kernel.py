"""The custom kernel's configuration, its slimmed tree and its place in the cache."""

from __future__ import annotations

import os
from pathlib import Path

from hil.virtual.image.custom_kernel import (
    CONFIG,
    STEP,
    asked,
    custom_key,
    custom_tree,
    kernel_status,
    slim,
    unmet,
)
from hil.virtual.image.modules import KBUILD, objects
from hil.virtual.image.packages import Resolution
from hil.virtual.image.steps import Steps
from tests.hil.virtual.image.fakes import Events, package, resolution


def test_a_configuration_is_read_with_its_refusals():
    text = '# a comment\nCONFIG_A=y\n  CONFIG_B=m\n# CONFIG_C is not set\nCONFIG_D="-hil"\n'
    assert asked(text) == {"CONFIG_A": "y", "CONFIG_B": "m", "CONFIG_C": "n", "CONFIG_D": '"-hil"'}


def test_what_was_not_set_is_named():
    fragment = "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=m\nCONFIG_D=y\n# CONFIG_E is not set\n# CONFIG_F is not set\n"
    config = "CONFIG_A=y\nCONFIG_B=y\nCONFIG_D=m\nCONFIG_E=y\n"
    assert unmet(fragment, config) == ["CONFIG_C=m (is n)", "CONFIG_D=y (is m)", "CONFIG_E=n (is y)"]
    assert unmet(fragment, fragment) == []


def test_it_asks_for_nothing_twice_and_for_nothing_that_we_compile_ourselves():
    text = CONFIG.read_text()
    lines = [line for line in text.splitlines() if line.startswith("CONFIG_")]
    assert len({line.split("=")[0] for line in lines}) == len(lines)
    assert objects(KBUILD.read_text()) >= {"gpio-sim", "ina3221"}
    assert set(asked(text)).isdisjoint({"CONFIG_GPIO_SIM", "CONFIG_SENSORS_INA3221"})


def test_the_key_is_of_sources_and_configuration_only():
    first = resolution()
    assert custom_key(first) == custom_key(resolution(root=(package("other"),)))
    assert custom_key(first) != custom_key(resolution(kernel=(package("linux-source-6.12", data=b"other"),)))


def test_a_slimmed_tree_keeps_what_modules_are_made_against(tmp_path):
    kept = [
        "Makefile", ".config", "Module.symvers", "include/linux/a.h", "include/generated/autoconf.h",
        "include/config/auto.conf", "scripts/mod/modpost", "scripts/module.lds", "arch/arm64/Makefile",
        "arch/arm64/include/asm/a.h",
    ]  # fmt: skip
    gone = [
        "drivers/iio/core.c", "drivers/iio/core.o", "arch/x86/Makefile", "arch/arm64/boot/Image", "vmlinux",
        "Documentation/a.rst", "tools/x/Makefile", "fs/ext4/super.c", "drivers/iio/iio_core.h", "kernel/Makefile",
    ]  # fmt: skip
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    slim(tmp_path)
    assert sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()) == sorted(kept)
    assert not (tmp_path / "fs").exists()


def make(cache: Path, resolved: Resolution, release: str = "6.12.9-hil", age_s: float = 0.0) -> Path:
    def work(folder):
        (folder / "release").write_text(release)

    folder = Steps(cache / "steps", Events()).make(STEP, custom_key(resolved), work)
    os.utime(folder, (1e9 - age_s, 1e9 - age_s))
    return folder


def test_status_says_none_current_and_old(tmp_path):
    assert kernel_status(tmp_path).release is None
    resolved = resolution()
    (tmp_path / "resolution.json").write_text(resolved.to_json())
    older = make(tmp_path, resolution(kernel=(package("linux-source-6.12", data=b"old"),)), "6.12.8-hil")
    found = kernel_status(tmp_path)
    assert (found.release, found.current, found.folder) == ("6.12.8-hil", False, older)
    folder = make(tmp_path, resolved, age_s=50)
    found = kernel_status(tmp_path)
    assert (found.release, found.current, found.folder) == ("6.12.9-hil", True, folder)
    tree = custom_tree(folder)
    assert (tree.image, tree.build) == (folder / "Image", folder / "build")
    assert tree.modules == folder / "lib" / "modules" / "6.12.9-hil"
