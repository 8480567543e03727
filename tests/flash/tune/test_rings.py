"""Packet rings: the kernel's structure, what a plan makes of a card, apply and undo, and a real veth that has none."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flash.tune.apply import Done, Outcome, apply, check_outcomes, put_back
from flash.tune.facts import look
from flash.tune.plan import Plan, State, plan
from flash.tune.rings import KernelRings, Ring, interface_of, pack, rx_path, unpack
from flash.tune.settings import interfaces_of
from flash.tune.show import differences
from flash.tune.tree import Tree
from flash.tune.undo import Entry, Undo, UndoFile, parse_undo, render
from tests.flash.tune.machine import BOOT, Cards, Kernel, machine, put
from tests.flash.tune.test_tune_cli import CONFIG
from touchline.config import NodeConfig, parse
from touchline.config.node import ProcessSection
from touchline.config.tune import Need, TuneSection
from touchline.errors import HardwareError, InputError

KEY = "ring/eth0 rx"
WORDS = st.integers(0, 2**32 - 1)
RINGS = st.builds(Ring, WORDS, WORDS, st.tuples(WORDS, WORDS, WORDS), st.tuples(WORDS, WORDS, WORDS))


@given(RINGS)
def test_the_kernels_structure_comes_back(ring):
    assert unpack(pack(0x10, ring)) == ring


def test_the_kernels_structure_is_that_of_ethtool_h():
    """linux/ethtool.h, struct ethtool_ringparam: command, four maxima, four sizes, in the machine's byte order."""
    ring = Ring(512, 1024, (1, 2, 3), (4, 5, 6))
    assert struct.unpack("=9I", pack(0x11, ring)) == (0x11, 1024, 4, 5, 6, 512, 1, 2, 3)


@given(st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,14}", fullmatch=True))
def test_a_rings_path_names_its_interface(interface):
    assert interface_of(rx_path(interface)) == interface


@given(st.text(max_size=24))
def test_no_other_text_is_a_rings_path(text):
    found = interface_of(text)
    assert found is None or rx_path(found) == text


class Host:
    """A machine with cards; nothing but rings is asked for."""

    def __init__(self, root: Path) -> None:
        self.cards = Cards()
        self.kernel = Kernel(machine(root), self.cards)
        for interface in ("eth0", "veth7"):
            put(root, f"/sys/class/net/{interface}/mtu", "1500")
        self.file = UndoFile(root)
        self.wish(768)

    def wish(self, packets: int, ring: Need = "auto", interfaces: tuple[str, ...] = ("eth0",)) -> None:
        self.tune = TuneSection(
            irq="off", idle="off", buffers="off", ring=ring, rx_ring=packets, ring_interfaces=list(interfaces)
        )

    def plan(self) -> Plan:
        facts = look(self.kernel)
        return plan(facts, self.tune, ProcessSection(), self.file.load(facts.boot_id))

    def apply(self) -> list[Outcome]:
        with self.file.alone():
            return apply(self.kernel, self.plan(), self.file.load(BOOT), self.file.save)

    def undo(self) -> list[Outcome]:
        with self.file.alone():
            return put_back(self.kernel, look(self.kernel), self.file.load(BOOT), self.file.save)

    @property
    def rx(self) -> int:
        return self.cards.rings["eth0"].rx


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def test_a_ring_grows_once_and_comes_back(host):
    before = host.cards.rings["eth0"]
    (row,) = host.plan().rows
    assert (row.key, row.now, row.want, row.state) == (KEY, "512", "768", State.DIFFERS)
    assert host.cards.written == [], "a plan writes nothing"
    assert [one.done for one in host.apply()] == [Done.CHANGED]
    assert host.cards.rings["eth0"] == Ring(768, 1024, before.others, before.others_most), "the others stay"
    assert [one.done for one in host.apply()] == [Done.UNCHANGED]
    assert host.plan().wrong == []
    assert [one.done for one in host.undo()] == [Done.RESTORED]
    assert host.cards.rings["eth0"] == before
    assert host.cards.written == [("eth0", 768), ("eth0", 512)]
    assert not host.file.path.exists()


def test_a_larger_ring_is_left_alone(host):
    host.wish(256)
    assert [one.done for one in host.apply()] == [Done.UNCHANGED]
    assert host.cards.written == []


def test_a_driver_that_rounds_up_is_content_and_left_alone_after(host):
    host.cards.step = 512
    assert [one.done for one in host.apply()] == [Done.CHANGED]
    assert host.rx == 1024
    assert [one.done for one in host.apply()] == [Done.UNCHANGED]
    host.undo()
    assert host.rx == 512


def test_more_than_the_card_takes_is_never_written_and_its_range_is_named(host):
    host.wish(2048)
    put(host.kernel.root, "/proc/sys/net/core/rmem_max", "4096")
    host.tune = host.tune.model_copy(update={"buffers": "required"})
    outcomes = host.apply()
    assert [one.done for one in outcomes] == [Done.CHANGED, Done.REFUSED], "the buffers are set all the same"
    with pytest.raises(HardwareError, match=r"ring/eth0 rx = 2048: eth0 takes 1 to 1024 packets") as caught:
        check_outcomes(outcomes)
    assert "within the range" in caught.value.hint
    assert host.cards.written == []
    assert "eth0 takes 1 to 1024 packets" in differences(host.plan().wrong)
    assert host.file.load(BOOT).refused == {}


def test_more_than_the_card_takes_where_it_is_required_stops_before_anything_is_written(host):
    host.wish(2048, "required")
    with pytest.raises(HardwareError, match=r"eth0 takes 1 to 1024 packets: set tune\.rx_ring to that or less"):
        host.apply()
    assert not host.file.path.exists()


def test_a_driver_without_rings_is_said_and_does_not_fail(host):
    host.wish(768, interfaces=("veth7",))
    outcomes = host.apply()
    assert [(one.done, one.row.note) for one in outcomes] == [
        (Done.ABSENT, "not supported by the driver of veth7: nothing to set")
    ]
    check_outcomes(outcomes)
    assert host.plan().wrong == []
    host.wish(768, "required", ("veth7",))
    with pytest.raises(HardwareError, match="not supported by the driver of veth7"):
        host.apply()


def test_an_interface_that_is_not_there_is_named_with_those_that_are(host):
    host.wish(768, interfaces=("eth9",))
    (row,) = host.plan().rows
    assert (row.state, row.note) == (State.ABSENT, "there is no interface eth9 (there are: eth0, eth1, veth7)")


def test_a_refused_size_is_not_tried_again_for_it_costs_the_link(host):
    host.cards.says["eth0"] = errno.EINVAL
    (outcome,) = host.apply()
    assert (outcome.done, outcome.why) == (
        Done.REFUSED,
        "the kernel refuses it (EINVAL); many drivers take powers of two only",
    )
    (again,) = host.apply()
    assert (again.done, again.why) == (outcome.done, outcome.why)
    assert host.cards.written == [("eth0", 768)]
    assert host.plan().wrong == [], "auto: named and left"
    host.cards.says.clear()
    host.wish(1024)
    assert [one.done for one in host.apply()] == [Done.CHANGED], "another size is another question"


def test_a_size_that_is_taken_and_not_kept_is_not_tried_again_either(host):
    host.cards.keeps = True
    assert [one.why for one in host.apply()] == ["the kernel kept 512"]
    assert [one.why for one in host.apply()] == ["the kernel kept 512"]
    assert len(host.cards.written) == 1


def test_a_try_without_rights_does_not_count(host):
    """A unit without CAP_NET_ADMIN does not keep root from setting it."""
    host.cards.says["eth0"] = errno.EPERM
    assert [one.why for one in host.apply()] == ["the kernel refuses it (EPERM)"]
    host.cards.says.clear()
    assert [one.done for one in host.apply()] == [Done.CHANGED]


def test_what_is_no_longer_asked_for_goes_back(host):
    host.apply()
    host.wish(0)
    assert [one.done for one in host.apply()] == [Done.RESTORED]
    assert host.rx == 512


def test_a_card_that_is_gone_is_not_put_back(host):
    host.apply()
    del host.cards.rings["eth0"]
    assert [one.done for one in host.undo()] == [Done.GONE]


def test_off_and_nought_ask_for_nothing(host):
    host.wish(0)
    assert host.plan().rows == ()
    host.wish(768, "off")
    assert host.plan().rows == ()


def test_the_interfaces_are_those_of_the_packets():
    plain = parse(CONFIG, NodeConfig)
    assert interfaces_of(plain) == ("eth0",)
    ptp = parse(CONFIG + '[clock]\nsource = "ptp"\n[clock.ptp]\ninterface = "mgbe0"\n', NodeConfig)
    assert interfaces_of(ptp) == ("mgbe0",)
    twins = '[failover]\npair = "p"\ntwin = "pitch-a2"\npaths = [["10.0.1.1:7400", "10.0.1.2:7400"]]\n'
    twins += 'witness = "rack:7401"\ndrill_interfaces = ["eth0", "eth1"]\n'
    assert interfaces_of(parse(CONFIG + twins, NodeConfig)) == ("eth0", "eth1")


def test_an_undo_file_keeps_a_ring_and_no_other_word_in_its_place():
    kept = Undo(BOOT, {KEY: Entry("ethtool:eth0/rx", "number", "512")})
    assert parse_undo(render(kept), "undo.json") == kept
    for path in ("ethtool:eth0/tx", "ethtool:../rx", "ethtool:a b/rx", "ethtool:"):
        with pytest.raises(InputError, match="no setting of the kernel"):
            parse_undo(render(kept).replace("ethtool:eth0/rx", path), "undo.json")


def test_a_tree_of_another_machine_never_asks_this_ones_cards(tmp_path):
    put(tmp_path, "/sys/class/net/lo/mtu", "65536")
    (ring,) = look(Tree(tmp_path)).rings
    assert ring.rx.raw is None


def test_an_interface_that_is_not_there_is_enodev():
    for name in ("touchline-none", "a/b", "x" * 40, ""):
        with pytest.raises(OSError) as caught:
            KernelRings().look(name)
        assert caught.value.errno == errno.ENODEV, name


@pytest.mark.system
def test_a_real_veth_has_no_ring_and_the_command_says_so(tmp_path):
    """In a network namespace of its own: found, named as unsupported, exit 0."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    space = f"tlring-{os.getpid()}"
    config = tmp_path / "node.toml"
    table = '[tune]\nirq = "off"\nidle = "off"\nbuffers = "off"\nrx_ring = 768\nring_interfaces = ["veth0"]\n'
    config.write_text(CONFIG + table)
    inside = ["ip", "netns", "exec", space]
    try:
        made = subprocess.run(["ip", "netns", "add", space], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"no network namespace can be made: {made.stderr.strip()}")
        words = ["link", "add", "veth0", "type", "veth", "peer", "name", "veth1"]
        subprocess.run(["ip", "-n", space, *words], check=True, capture_output=True)
        touchline = [*inside, "python", "-m", "touchline.cli", "node", "tune", "--config", str(config), "--dry-run"]
        done = subprocess.run(touchline, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["ip", "netns", "del", space], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "not supported by the driver of veth0: nothing to set" in done.stdout
    assert "0 of 1 would be written" in done.stdout
