"""Reading the machine: lists of CPUs, /proc/interrupts of several machines, knobs that cannot be read."""

from __future__ import annotations

import errno
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.tune.cpus import format_cpus, parse_cpus
from flash.tune.facts import look, parse_interrupts, read_knob
from flash.tune.tree import Tree
from tests.flash.tune.machine import BOOT, INTERRUPTS, PCI_CARD, interrupts_text, machine, put


@given(st.frozensets(st.integers(0, 300)))
def test_a_list_of_cpus_comes_back(cpus):
    assert parse_cpus(format_cpus(cpus)) == cpus


@pytest.mark.parametrize(
    ("text", "cpus"), [("", set()), ("0-3", {0, 1, 2, 3}), ("8,0-1\n", {0, 1, 8}), ("3,3,2", {2, 3})]
)
def test_lists_of_cpus(text, cpus):
    assert parse_cpus(text) == cpus


@given(st.text(max_size=20))
def test_other_text_is_a_value_error_or_a_list(text):
    try:
        assert all(cpu >= 0 for cpu in parse_cpus(text))
    except ValueError as error:
        assert "0-3,8" in str(error)


@pytest.mark.parametrize("text", ["3-1", "1,", "a", "0-", "-1", "1 2", "0xff"])
def test_no_lists(text):
    with pytest.raises(ValueError, match="no list of CPUs"):
        parse_cpus(text)


def test_runs_are_joined_as_the_kernel_does():
    assert format_cpus([5, 0, 1, 2, 9, 8]) == "0-2,5,8-9"


PC = """\
           CPU0       CPU1
  0:         42          0   IO-APIC   2-edge      timer
  9:          0          0   IO-APIC   9-fasteoi   acpi
 24:          1          0  IO-APIC   5-edge      ACPI:Ged
 38:          0     292982 PCI-MSIX-0000:00:03.0   1-edge      virtio2-input.0
120:          5          6  IR-PCI-MSI-0000:00:1f.6    0-edge      enp0s31f6
130:          0          0  PCI-MSI 65536-edge      xhci_hcd, other
NMI:          0          0   Non-maskable interrupts
LOC:    8542303    8712988   Local timer interrupts
ERR:          0
MIS:          0
"""


def test_a_pcs_interrupts():
    assert parse_interrupts(PC) == {
        0: "timer",
        9: "acpi",
        24: "ACPI:Ged",
        38: "virtio2-input.0",
        120: "enp0s31f6",
        130: "xhci_hcd, other",
    }


def test_an_orins_interrupts():
    found = parse_interrupts(interrupts_text(12, INTERRUPTS))
    assert found == {number: name for number, (_, name) in INTERRUPTS.items()}


def test_an_interrupt_without_a_driver_is_left_out():
    assert parse_interrupts("     CPU0\n 44:   0   GICv3 12 Level   \n") == {}


@given(st.text(max_size=400))
def test_any_text_is_no_interrupt_or_some(text):
    assert all(number >= 0 and name for number, name in parse_interrupts(text).items())


def test_the_whole_machine(tmp_path):
    facts = look(Tree(machine(tmp_path, online="0-7")))
    assert facts.boot_id == BOOT
    assert facts.online == frozenset(range(8))
    assert facts.present == frozenset(range(12))
    assert [one.owner for one in facts.interrupts if one.number == 71] == ["eth1"]
    assert len(facts.idle) == 24
    assert facts.idle[1].disable.key == "idle/cpu0/state1 c7"
    assert facts.buffers["rmem_max"].raw == "212992"
    assert facts.irqbalance is None
    assert facts.governors == ("schedutil",)
    assert len(facts.knobs()) == len(INTERRUPTS) + 24 + 2 + len(PCI_CARD)  # a ring for each interface


def test_a_virtio_card_is_found_one_level_up(tmp_path):
    root = machine(tmp_path)
    (root / "sys/devices/pci/virtio2").mkdir(parents=True)
    put(root, "/sys/devices/pci/msi_irqs/60", "msix")
    (root / "sys/class/net/eth9").mkdir(parents=True)
    (root / "sys/class/net/eth9/device").symlink_to(root / "sys/devices/pci/virtio2")
    assert [one.owner for one in look(Tree(root)).interrupts if one.number == 60] == ["eth9"]


def test_irqbalance_is_seen(tmp_path):
    root = machine(tmp_path)
    put(root, "/proc/812/comm", "irqbalance")
    assert look(Tree(root)).irqbalance == 812


def test_an_empty_root_is_a_machine_without_anything(tmp_path):
    facts = look(Tree(tmp_path))
    assert not facts.interrupts
    assert not facts.idle
    assert facts.buffers["rmem_max"].trouble == "this kernel has it not"
    assert facts.online == frozenset()


@dataclass(frozen=True)
class Broken(Tree):
    def read(self, path: str) -> str | None:
        raise OSError(errno.EIO, "broken")


def test_what_cannot_be_read_says_why():
    knob = read_knob(Broken(), "net.core.rmem_max", "/proc/sys/net/core/rmem_max", "number")
    assert (knob.raw, knob.trouble) == (None, "cannot be read (EIO)")


def test_the_running_kernel_can_be_read():
    """Real files: some refuse large reads (ENOMEM), some know no size."""
    facts = look(Tree())
    assert facts.online
    assert len(facts.boot_id) == 36
