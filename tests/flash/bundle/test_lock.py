"""What goes into a bundle: the lock read for another machine, and the table of what a role does without."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from flash.bundle.create import CHECKOUT
from flash.bundle.fetch import _explained
from flash.bundle.lock import Target, pins
from flash.bundle.roles import LEFT_OUT
from tests.flash.bundle.bundles import REPO
from touchline.errors import InputError, LinkError, TouchlineError

NODE_ROOMS = ("touchline", "agent", "thermal", "failover", "calibration")
LOCK = (REPO / "requirements" / "run.txt").read_text()


def test_markers_are_judged_for_the_target_not_for_us():
    text = (
        "old==1 ; python_full_version < '3.11' \\\n    --hash=sha256:aa\n    # via x\n"
        "New_Name==2.0 ; python_full_version >= '3.11' and platform_machine == 'aarch64' \\\n"
        "    --hash=sha256:bb \\\n    --hash=sha256:cc\n"
        "windows==3 ; sys_platform == 'win32' --hash=sha256:dd\n"
    )
    assert [one.line() for one in pins(text, Target("aarch64", "3.10"))] == ["old==1 --hash=sha256:aa"]
    assert [one.line() for one in pins(text, Target("aarch64", "3.12"))] == [
        "new-name==2.0 --hash=sha256:bb --hash=sha256:cc"
    ]
    assert pins(text, Target("x86_64", "3.12")) == []


@pytest.mark.parametrize("line", ["a==1", "a>=1 --hash=sha256:aa", "=== --hash=sha256:aa"])
def test_a_line_without_pin_or_hash_is_refused(line):
    with pytest.raises(InputError, match="the lock"):
        pins(line, Target("aarch64", "3.10"))


def test_wheels_for_older_systems_are_taken_too_and_for_newer_ones_not():
    platforms = Target("aarch64", "3.10").platforms()
    assert {"manylinux_2_17_aarch64", "manylinux_2_28_aarch64", "manylinux2014_aarch64"} <= set(platforms)
    assert "manylinux_2_35_aarch64" not in platforms


@pytest.mark.parametrize("role", sorted(LEFT_OUT))
def test_what_a_role_leaves_out_is_in_the_lock(role):
    names = {one.name for python in ("3.10", "3.12") for one in pins(LOCK, Target("aarch64", python))}
    assert LEFT_OUT[role] <= names


@pytest.mark.parametrize("role", sorted(LEFT_OUT))
def test_nothing_that_stays_asks_for_what_was_left_out(role):
    own = f"{sys.version_info[0]}.{sys.version_info[1]}"
    for pin in pins(LOCK, Target("x86_64", own), LEFT_OUT[role]):
        for text in importlib.metadata.requires(pin.name) or []:
            asked = Requirement(text)
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                assert canonicalize_name(asked.name) not in LEFT_OUT[role], f"{pin.name} asks for {asked.name}"


@pytest.mark.system
def test_a_nodes_rooms_import_without_what_was_left_out():
    """Import every module of the node's rooms in a process that refuses the modules left out."""
    by_dist = importlib.metadata.packages_distributions()
    refused = {
        module for module, dists in by_dist.items() if {canonicalize_name(one) for one in dists} & LEFT_OUT["node"]
    }
    assert {"aiohttp", "pyarrow"} <= refused
    training = "calibration.detector"  # needs torch, on a workstation
    program = f"""
import importlib, importlib.abc, pathlib, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {sorted(refused)!r}:
            raise ImportError(name + " is not on a node")
sys.meta_path.insert(0, Refuse())
for room in {NODE_ROOMS!r}:
    for path in sorted(pathlib.Path(room).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        if not name.startswith({training!r}) and not name.endswith("__main__"):
            importlib.import_module(name)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_installer_needs_the_standard_library_only():
    program = f"import sys; sys.path.insert(0, {str(REPO)!r}); import flash.bundle.node.main"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_requirement_without_a_wheel_is_named():
    target = Target("aarch64", "3.10")
    said = "ERROR: Could not find a version\nERROR: No matching distribution found for scipy==1.15.3"
    error = _explained(TouchlineError(said), target)
    assert isinstance(error, InputError)
    assert error.message == "scipy==1.15.3 has no wheel for aarch64 and Python 3.10"
    assert isinstance(_explained(TouchlineError("Temporary failure in name resolution"), target), LinkError)
    assert "not the locked file" in _explained(TouchlineError("DO NOT MATCH THE HASHES"), target).message


def test_the_checkout_is_where_the_lock_is():
    assert CHECKOUT == REPO
    tools = pins((CHECKOUT / "flash" / "bundle" / "tools.txt").read_text(), Target("aarch64", "3.10"))
    assert [one.name for one in tools] == ["installer"]
