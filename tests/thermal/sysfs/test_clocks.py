"""Limits are capped, verified, and put back as they were found, after a crash too."""

from __future__ import annotations

import errno
import json
import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.thermal.faketree import CPU_KHZ, CPUFREQ, DEVFREQ, GPU_HZ, FakeTree, File
from thermal.sysfs.clocks import SysfsClocks
from thermal.types import Domain

P0, P4 = f"{CPUFREQ}/policy0/scaling_max_freq", f"{CPUFREQ}/policy4/scaling_max_freq"
GPU = f"{DEVFREQ}/17000000.gpu/max_freq"
CAP: dict[Domain, float] = {"cpu": 1.5e9, "gpu": 0.9e9}


def test_caps_reach_every_cluster_and_nothing_else():
    tree = FakeTree()
    clocks = SysfsClocks(tree)
    assert clocks.set_caps(CAP) is None
    assert (tree[P0].text, tree[P4].text, tree[GPU].text) == ("1500000", "1500000", "900000000")
    assert tree[f"{DEVFREQ}/15340000.vic/max_freq"].text == "115200000"
    assert {name: raw.value for name, raw in clocks.limits().items()} == CAP


def test_a_cluster_that_did_not_take_its_cap_shows():
    tree = FakeTree()
    tree[P4].write_errno = errno.EACCES
    clocks = SysfsClocks(tree)
    assert P4 in (clocks.set_caps(CAP) or "")
    assert clocks.limits()["cpu"].value == CPU_KHZ * 1000.0
    tree[P4].read_errno = errno.EIO
    assert clocks.limits()["cpu"].errno == errno.EIO


def test_a_clock_that_runs_above_its_limit_shows_and_one_below_does_not():
    tree = FakeTree()
    clocks = SysfsClocks(tree)
    assert clocks.set_caps(CAP) is None
    cpu, gpu = (path.replace("max_freq", "cur_freq") for path in (P4, GPU))
    tree.files[cpu], tree.files[gpu] = File("1997000"), File("420750000")
    assert {name: raw.value for name, raw in clocks.limits().items()} == {"cpu": 1.997e9, "gpu": 0.9e9}
    tree[gpu].read_errno = errno.EIO
    assert clocks.limits()["gpu"].errno == errno.EIO


def test_one_domain_is_released_while_the_other_stays():
    tree = FakeTree()
    clocks = SysfsClocks(tree)
    clocks.set_caps(CAP)
    assert clocks.set_caps({"gpu": 0.5e9}) is None
    assert (tree[P0].text, tree[GPU].text) == (str(CPU_KHZ), "500000000")


def test_a_cap_above_the_machines_limit_raises_nothing():
    tree = FakeTree()
    tree[P0].text = "729600"  # a power mode
    clocks = SysfsClocks(tree)
    assert clocks.set_caps({"cpu": 1.5e9}) is None
    assert tree[P0].text == "729600"


def test_who_changes_a_limit_under_a_cap_gets_it_back():
    tree = FakeTree()
    clocks = SysfsClocks(tree)
    clocks.set_caps(CAP)
    tree[P0].text = "1113600"  # nvpmodel
    clocks.set_caps(CAP)
    assert tree[P0].text == "1113600"
    clocks.set_caps({})
    assert (tree[P0].text, tree[P4].text) == ("1113600", str(CPU_KHZ))


class Throttled(FakeTree):
    """The kernel holds policy0 below what is asked, as its passive trips do."""

    most_khz = 10**9

    def read(self, path: str) -> bytes:
        raw = super().read(path)
        return b"%d\n" % min(int(raw), self.most_khz) if path == P0 else raw


def test_the_kernels_throttling_is_nobodys_limit():
    tree = Throttled()
    clocks = SysfsClocks(tree)
    clocks.set_caps(CAP)
    tree.most_khz = 1_200_000
    assert clocks.set_caps(CAP) is None
    clocks.set_caps({})
    tree.most_khz = 10**9
    assert tree[P0].text == str(CPU_KHZ)


def test_no_clocks_here():
    clocks = SysfsClocks(FakeTree(clocks=False))
    assert clocks.limits() == {}
    assert clocks.set_caps({}) is None
    assert clocks.set_caps(CAP) == "no cpu clock to cap here; no gpu clock to cap here"


def test_the_next_start_knows_the_limits_from_before_the_crash(tmp_path: Path):
    tree, memory = FakeTree(), tmp_path / "clocks.json"
    SysfsClocks(tree, memory).set_caps(CAP)
    after = SysfsClocks(tree, memory)
    after.set_caps({"cpu": 1.0e9, "gpu": 0.5e9})
    assert tree[P0].text == "1000000"
    assert after.set_caps({}) is None
    assert (tree[P0].text, tree[GPU].text) == (str(CPU_KHZ), str(GPU_HZ))
    assert not memory.exists()


def test_a_memory_is_believed_only_about_clocks(tmp_path: Path):
    memory = tmp_path / "clocks.json"
    for document in ({"/etc/passwd": [1, 1], f"{CPUFREQ}/policy0/../../x": [2, 1], P0: "x", P4: [5]}, [1], "x"):
        memory.write_text(json.dumps(document))
        tree = FakeTree()
        SysfsClocks(tree, memory).set_caps({})
        assert not [path for path, file in tree.files.items() if file.writes]


@given(st.lists(st.sampled_from(["none", "cap", "lower", "crash", "mode"]), max_size=12))
def test_whatever_happened_a_release_never_leaves_a_cap_of_ours(events):
    tree, theirs = FakeTree(), CPU_KHZ
    asked: dict[str, dict[Domain, float]] = {"none": {}, "cap": {"cpu": 1.5e9}, "lower": {"cpu": 0.8e9}}
    with tempfile.TemporaryDirectory() as folder:
        memory = Path(folder) / "clocks.json"
        clocks = SysfsClocks(tree, memory)
        for event in events:
            if event == "mode":
                theirs = 1_190_400 if theirs == CPU_KHZ else CPU_KHZ
                tree[P0].text = tree[P4].text = str(theirs)
            elif event == "crash":
                clocks = SysfsClocks(tree, memory)
            else:
                clocks.set_caps(asked[event])
                assert int(tree[P0].text) == min(theirs, asked[event].get("cpu", 9e9) / 1000)
        clocks.set_caps({})
        assert int(tree[P0].text) == int(tree[P4].text) == theirs
        assert not memory.exists()
