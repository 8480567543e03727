"""What the host lacks, in one line each."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple

import pytest

from hil.virtual.image import host
from hil.virtual.image.programs import Programs
from hil.virtual.image.recipe import SPACE_MIB
from touchline.errors import ResourceError


@pytest.fixture
def whole(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(host, "enable_emulation", lambda _programs: None)
    monkeypatch.setattr(host, "needed_programs", lambda: (("sh", "dash"),))


def test_missing_packages_stand_in_one_line_once_each(whole, monkeypatch):
    absent = (("no-such-b", "b-package"), ("no-such-a", "a-package"), ("no-such-a2", "a-package"), ("sh", "dash"))
    monkeypatch.setattr(host, "needed_programs", lambda: absent)
    with pytest.raises(ResourceError, match="the build needs a-package, b-package") as raised:
        host.check_host(Programs())
    assert raised.value.hint == "apt-get install a-package b-package"


def test_what_a_kernel_build_needs_is_asked_for_too(whole):
    host.check_host(Programs())
    with pytest.raises(ResourceError, match="needs flexible"):
        host.check_host(Programs(), (("no-such", "flexible"),))


def test_root_is_asked_for(whole, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ResourceError, match="needs root"):
        host.check_host(Programs())


def test_an_installed_copy_says_that_it_is_one(whole, monkeypatch, tmp_path):
    monkeypatch.setattr(host, "KERNEL_FOLDER", tmp_path / "kernel")
    with pytest.raises(ResourceError, match="installed copy") as raised:
        host.check_host(Programs())
    assert "clone" in raised.value.hint


def test_a_small_disk_is_told_with_folder_needed_and_free(monkeypatch, tmp_path):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**10, 0, 1_200_000_000))
    folder = tmp_path / "not" / "yet"
    with pytest.raises(ResourceError, match=r"not/yet: the build needs 3\.0 GB and 1\.2 GB are free"):
        host.check_space(folder, [name for name in SPACE_MIB if name != "custom-kernel"])
    host.check_space(folder, ["root", "kernel"])
    host.check_space(folder, [])


@pytest.mark.parametrize(("machine", "arch"), [("x86_64", "amd64"), ("aarch64", "arm64")])
def test_architectures(monkeypatch, machine, arch):
    uname = namedtuple("uname", "machine")
    monkeypatch.setattr(os, "uname", lambda: uname(machine))
    assert host.host_arch() == arch


def test_another_architecture_is_refused(monkeypatch):
    uname = namedtuple("uname", "machine")
    monkeypatch.setattr(os, "uname", lambda: uname("riscv64"))
    with pytest.raises(ResourceError, match="riscv64"):
        host.host_arch()


def test_a_host_that_cannot_run_arm64_says_what_to_install(monkeypatch, tmp_path):
    (tmp_path / "register").touch()
    monkeypatch.setattr(host, "BINFMT", tmp_path)
    monkeypatch.setattr(host, "need", lambda program, _package: program)
    ran: list[list[str]] = []
    programs = Programs()
    monkeypatch.setattr(programs, "run", ran.append)
    with pytest.raises(ResourceError, match="binfmt_misc has no qemu-aarch64") as raised:
        host.enable_emulation(programs)
    assert ran == [["update-binfmts", "--enable", "qemu-aarch64"]]
    assert "qemu-user-static" in raised.value.hint
    (tmp_path / "qemu-aarch64").touch()
    host.enable_emulation(programs)
    assert len(ran) == 1
