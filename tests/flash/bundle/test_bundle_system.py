"""A real bundle for this machine, installed into an empty tree, and the program started from it."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flash.bundle.archive import check_archive
from flash.bundle.create import create
from flash.bundle.lock import Target
from tests.flash.bundle.bundles import PYTHON
from touchline.errors import InputError, LinkError

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def bundle_file(tmp_path_factory):
    out = tmp_path_factory.mktemp("bundle") / "touchline.tar"
    try:
        create(out, Target(platform.machine(), PYTHON), "node")
    except (LinkError, InputError) as error:
        pytest.skip(f"the wheels cannot be had here: {error.message}")
    return out


@pytest.fixture(scope="module")
def tree(bundle_file, tmp_path_factory):
    """An empty system with this machine's interpreter and its systemd tools, and the bundle installed in it."""
    if os.geteuid() != 0:
        pytest.skip("making users and folders in a tree needs root")
    if not shutil.which("systemctl") or not shutil.which("systemd-sysusers"):
        pytest.skip("systemd's programs are not installed here")
    work = tmp_path_factory.mktemp("tree")
    subprocess.run(["tar", "xf", bundle_file, "-C", work], check=True)
    (folder,) = work.glob("touchline-*")
    root = work / "root"
    python = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    inside = root / str(python).lstrip("/")
    inside.parent.mkdir(parents=True)
    shutil.copyfile(python, inside)
    (root / "etc").mkdir()
    argv = [sys.executable, "-I", str(folder / "install.py"), "--root", str(root), "--python", str(python), "--json"]
    runs = [subprocess.run(argv, capture_output=True, text=True, check=False) for _ in range(2)]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stdout + runs[0].stderr
    return root, [[json.loads(line) for line in run.stdout.splitlines()] for run in runs]


def test_the_same_checkout_gives_the_same_file(bundle_file, tmp_path):
    again = tmp_path / "again.tar"
    manifest = create(again, Target(platform.machine(), PYTHON), "node")
    assert again.read_bytes() == bundle_file.read_bytes()
    assert check_archive(bundle_file) == manifest


def test_it_installs_once(tree):
    _, (first, second) = tree
    assert first[-1]["changed"] is True
    assert second[-1]["changed"] is False
    assert first[-1]["seconds"] < 120


def test_it_is_enabled_for_the_next_boot(tree):
    root, _ = tree
    assert (root / "etc/systemd/system/multi-user.target.wants/touchline.target").is_symlink()
    assert (root / "etc/systemd/system/touchline.target.wants/touchline-agent.service").is_symlink()
    assert "touchline:" in (root / "etc/passwd").read_text()


def test_the_program_starts_at_its_place(tree):
    """In a mount namespace the tree's /opt stands over the machine's own."""
    root, _ = tree
    over = f"mount --bind {root}/opt /opt && exec "
    loads = "import agent.parent.parent, agent.check; print(agent.__file__)"
    for words, said in (
        ("/opt/touchline/current/bin/touchline --version", "touchline, version 0.1.0"),
        ("/opt/touchline/current/bin/touchline record spec", "104"),
        (
            f"/opt/touchline/current/venv/bin/python -c '{loads}'",
            "/opt",
        ),
    ):
        argv = ["unshare", "--mount", "sh", "-c", over + words]
        done = subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False)
        if "unshare failed" in done.stderr or "mount:" in done.stderr:
            pytest.skip(f"no mount namespace here: {done.stderr.strip()}")
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
