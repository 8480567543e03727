"""nvpmodel's word against the clocks'."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from tests.thermal.faketree import CPU_KHZ, CPUFREQ, DEVFREQ, FakeTree, File
from thermal.aside import Aside
from thermal.sysfs.power_mode import AGAIN_NS, STATUS, TABLE, Mode, PowerMode, mode_trouble, modes_of

P0, GPU = f"{CPUFREQ}/policy0/scaling_max_freq", f"{DEVFREQ}/17000000.gpu/max_freq"
TEXT = f"""
# a comment
< PARAM TYPE=FILE NAME=CPU_ONLINE >
CORE_0 /sys/devices/system/cpu/cpu0/online
< PARAM TYPE=CLOCK NAME=CPU_A78_0 >
FREQ_TABLE /sys/devices/system/cpu/cpu0/cpufreq/scaling_available_frequencies
MAX_FREQ {P0}
MIN_FREQ /sys/devices/system/cpu/cpu0/cpufreq/scaling_min_freq
< PARAM TYPE=CLOCK NAME=GPU >
MAX_FREQ {GPU}
< POWER_MODEL ID=0 NAME=MAXN >
CPU_ONLINE CORE_0 1
CPU_A78_0 MIN_FREQ 0
CPU_A78_0 MAX_FREQ -1
GPU MAX_FREQ -1
< POWER_MODEL ID=2 NAME=MODE_30W >
CPU_A78_0 MAX_FREQ 1728000
GPU MAX_FREQ 612000000
< PM_CONFIG DEFAULT=2 >
"""


def a_tree(mode: str) -> FakeTree:
    tree = FakeTree()
    tree.files[STATUS], tree.files[TABLE] = File(mode), File(TEXT)
    return tree


def test_the_table_is_read():
    modes = modes_of(TEXT)
    assert modes == {0: Mode("MAXN", {}), 2: Mode("MODE_30W", {P0: 1_728_000, GPU: 612_000_000})}


@given(st.text())
def test_any_table_is_read(text):
    modes_of(text)
    modes_of(TEXT.replace("MAX_FREQ", text))


def test_a_mode_that_was_not_applied_is_said():
    tree = a_tree("pmode:0002 fmode:cool")
    said = mode_trouble(tree)
    assert said is not None
    assert f"MODE_30W, but {P0} is {CPU_KHZ}, not 1728000; {GPU}" in said


def test_a_mode_that_fits_maxn_an_unknown_mode_and_no_nvpmodel():
    fits = a_tree("pmode:0002")
    fits[P0].text, fits[GPU].text = "1728000", "612000000"
    for tree in (fits, a_tree("pmode:0000"), a_tree("pmode:0009"), a_tree(""), FakeTree()):
        assert mode_trouble(tree) is None


def test_it_looks_once_a_minute():
    tree = a_tree("pmode:0002")
    look = Aside("test", lambda: mode_trouble(tree))
    mode = PowerMode(look)

    def said(now_ns: int) -> str | None:
        mode.trouble(now_ns)
        look.answer(30.0)
        return mode.trouble(now_ns)

    assert said(0)
    tree[P0].text, tree[GPU].text = "1728000", "612000000"
    assert said(AGAIN_NS - 1)
    assert said(AGAIN_NS) is None
    look.close()


def test_a_disk_that_hangs_costs_the_check_and_nothing_else():
    held = threading.Event()
    look = Aside("test", lambda: "late" if held.wait(30.0) else None)
    mode = PowerMode(look)
    assert [mode.trouble(now_ns) for now_ns in (0, 1, AGAIN_NS - 1)] == [None] * 3
    held.set()
    look.answer(30.0)
    assert mode.trouble(AGAIN_NS - 1) == "late"
    look.close()
