"""What is taken of a kernel: the closure, uncompressed, with tables and load order."""

from __future__ import annotations

import lzma

import pytest

from hil.virtual.image import recipe
from hil.virtual.image.kernel import KernelFiles, KernelTree, keep_wanted, loopback_package, source_package
from hil.virtual.image.modules import unpack_source
from hil.virtual.image.programs import Job, Programs
from tests.hil.virtual.image.fakes import resolution
from touchline.errors import InputError


@pytest.fixture
def tree(tmp_path):
    modules = tmp_path / "stock" / "lib" / "modules" / "6.12"
    texts = {
        "dep": "kernel/ext4.ko.xz: kernel/jbd2.ko.xz\nkernel/jbd2.ko.xz:\nkernel/virtio_blk.ko:\n"
        "kernel/vivid.ko.zst:\n",
        "softdep": "",
        "builtin": "kernel/crc32c_generic.ko\n",
        "builtin.modinfo": "",
        "order": "",
    }
    (modules / "kernel").mkdir(parents=True)
    for name, text in texts.items():
        (modules / f"modules.{name}").write_text(text)
    for name in ("ext4", "jbd2"):
        (modules / "kernel" / f"{name}.ko.xz").write_bytes(lzma.compress(name.encode()))
    for name in ("virtio_blk.ko", "vivid.ko.zst"):
        (modules / "kernel" / name).write_bytes(name.encode())
    (tmp_path / "vmlinuz").write_bytes(b"kernel")
    return KernelTree("6.12", tmp_path / "vmlinuz", modules, tmp_path / "build")


@pytest.fixture
def job(tmp_path, monkeypatch):
    job = Job(Programs(), tmp_path / "log")
    ran = []

    def run(argv, **_options):
        ran.append([str(word) for word in argv])
        return b""

    monkeypatch.setattr(job.programs, "run", run)
    return job, ran


def test_the_closure_is_taken_uncompressed(tree, job, tmp_path):
    ours = tmp_path / "gpio-sim.ko"
    ours.write_bytes(b"sim")
    out = tmp_path / "out"
    out.mkdir()
    files = keep_wanted(job[0], tree, ["ext4", "virtio_blk"], [ours], out)
    assert (files.modules / "kernel" / "ext4.ko").read_bytes() == b"ext4"
    assert (files.modules / "extra" / "gpio-sim.ko").read_bytes() == b"sim"
    assert not (files.modules / "kernel" / "vivid.ko").exists()
    assert [path.name for path in files.initrd_modules()] == ["virtio_blk.ko", "jbd2.ko", "ext4.ko"]
    assert job[1] == [["depmod", "-b", str(out), "6.12"]]
    assert KernelFiles.read(out) == files
    assert set(recipe.INITRD_MODULES) == {"virtio_blk", "crc32c_generic", "ext4"}


def test_an_unknown_compression_is_told(tree, job, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match=r"vivid\.ko\.zst"):
        keep_wanted(job[0], tree, ["vivid"], [], tmp_path / "out")


def test_the_source_packages_are_found_and_others_refused(job, tmp_path):
    assert source_package(resolution().kernel).name == "linux-source-6.12"
    assert loopback_package(resolution().kernel).name == "v4l2loopback-dkms"
    with pytest.raises(InputError, match="has no v4l2loopback-dkms"):
        loopback_package(resolution().root)
    with pytest.raises(InputError, match="no kernel source package"):
        unpack_source(job[0], tmp_path / "bash_5_all.deb", tmp_path / "out")
