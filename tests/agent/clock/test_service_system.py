"""The clock process's work on a real ptp4l: software stamps, free running, two and three namespaces on one wire.

All of them read the same CLOCK_REALTIME, so the truth is known: PTP time here is that, whatever ptp4l measured.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from agent.clock.core import ClockEvent
from agent.clock.page import PageClock, read_page
from agent.clock.service import ClockService
from tests.agent.clock.ptp_net import PtpNet, ptp_net  # noqa: F401
from touchline.config import NodeConfig, parse
from touchline.timeline import ClockState, Timebase, monotonic_ns, sleep_until, tie

pytestmark = pytest.mark.system

CONFIG = """
[node]
name = "node-t"
run_dir = "{run}"
[clock]
source = "ptp"
bound_limit_us = {limit_us}
[clock.ptp]
time_stamping = "software"
free_running = true
uds_path = "{uds}"
holdover_wander_ppb_per_s = {wander}
[[camera]]
number = 1
source = "pattern"
calibration = "none.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "127.0.0.1"
ca_file = "ca"
cert_file = "cert"
key_file = "key"
"""


class Clocked:
    """A node on a net, its clock process's work done by hand."""

    def __init__(self, net: PtpNet, node: str, run: Path, *, limit_us: float = 200.0, wander: float = 10.0) -> None:
        run.mkdir(exist_ok=True)
        self.run = run
        text = CONFIG.format(run=run, limit_us=limit_us, uds=net.folder / f"{node}.sock", wander=wander)
        self.events: list[ClockEvent] = []
        self.config = parse(text, NodeConfig)
        self.service = ClockService(self.config, self.events.extend)
        self.service.open()
        self.clock = PageClock(run)
        self.errors: list[tuple[int, int, ClockState]] = []

    def turn(self) -> None:
        """One turn of the process, and stamps from its page, 100 a second, as any other process makes them."""
        next_ns = self.service.step(monotonic_ns())
        while monotonic_ns() < next_ns:
            stamped_ns = monotonic_ns()
            stamp = self.clock.at(stamped_ns)
            if stamp.epoch:
                link = tie(Timebase.MONOTONIC, Timebase.REALTIME)
                error_ns = stamp.ptp_ns - stamped_ns - link.difference_ns
                self.errors.append((error_ns, stamp.bound_ns + link.half_ns, stamp.state))
            sleep_until(min(next_ns, monotonic_ns() + 10_000_000))

    def until(self, state: str, within_s: float = 60.0) -> None:
        """Turn until the page's state is this one."""
        self.turn_until(lambda status: status.get("state") == state, state, within_s)

    def turn_until(self, wanted: Callable[[Any], bool], what: str, within_s: float = 60.0) -> None:
        """Turn until the page says what is wanted."""
        deadline_ns = monotonic_ns() + int(within_s * 1e9)
        while not wanted(self.status):
            assert monotonic_ns() < deadline_ns, f"not {what} within {within_s:g} s: {self.status}"
            self.turn()

    def turns(self, count: int) -> None:
        """So many turns."""
        for _ in range(count):
            self.turn()

    @property
    def status(self):
        """What the page says."""
        page = self.clock.page()
        return {} if page is None else page.status

    def covered(self) -> float:
        """Share of stamps within their bound."""
        return sum(abs(error) <= bound for error, bound, _ in self.errors) / len(self.errors)

    def codes(self) -> list[str]:
        """Events so far."""
        return [event.code for event in self.events]


@pytest.fixture
def clocked(ptp_net: Callable[..., PtpNet], tmp_path: Path) -> Iterator[Callable[..., Clocked]]:  # noqa: F811
    made: list[Clocked] = []

    def make(net: PtpNet, node: str, **how: float) -> Clocked:
        made.append(Clocked(net, node, tmp_path / f"run{len(made)}", **how))
        return made[-1]

    yield make
    for one in made:
        one.service.close()


def test_it_locks_to_a_real_master_and_the_truth_lies_within_the_bound(ptp_net, clocked):  # noqa: F811
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    node.turns(40)
    assert node.covered() >= 0.999
    status = node.status
    assert status["grandmaster"] in net.pmc("gm", "GET DEFAULT_DATA_SET")
    assert status["method"] == "sync"
    assert status["servo"] == "locked"
    assert status["timescale"] == "ARB"
    assert status["counters"]["syncs"] > 40
    assert status["mappings"]["monotonic"]["state"] == "locked"
    assert status["bound_ns"] < 200_000
    assert node.codes() == ["clock_holdover", "clock_locked"]  # a line is used before it has settled
    assert len((node.run / "clock-history.jsonl").read_text().splitlines()) > 8


def test_a_master_that_falls_silent_means_holdover_then_unlocked_and_back(ptp_net, clocked):  # noqa: F811
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node", wander=10_000.0)
    node.until("locked")
    master = node.status["grandmaster"]
    net.stop("gm")
    node.until("holdover")
    assert node.status["grandmaster"] == master
    assert node.status["servo"].startswith("not locked: ")
    node.until("unlocked")
    assert node.codes()[-2:] == ["clock_holdover", "clock_unlocked"]
    net.start_ptp4l("gm")
    node.until("locked")
    assert node.covered() >= 0.999


def test_another_grandmaster_is_another_epoch(ptp_net, clocked):  # noqa: F811
    net = ptp_net("gm", "other", "node")
    net.start_ptp4l("gm")
    net.start_ptp4l("other")
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    first, epoch = node.status["grandmaster"], node.status["epoch"]
    net.stop("gm")
    node.until("holdover")
    node.until("locked")
    assert node.status["epoch"] == epoch + 1
    assert node.status["grandmaster"] != first
    assert "clock_grandmaster" in node.codes()
    assert any(first in step["text"] for step in node.status["steps"])
    assert node.covered() >= 0.999


def test_a_master_that_answers_no_delay_request_gives_no_time(ptp_net, clocked):  # noqa: F811
    """Its Syncs come, and 3.1.1 says an offset of 0: unmeasured."""
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm", {"delay_mechanism": "P2P"})
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.turns(40)
    node.turn_until(lambda status: "no answer to delay requests" in status["servo"], "silence")
    assert node.status["port_state"] == "UNCALIBRATED" and node.status["counters"]["syncs"] == 0
    assert node.status["state"] == "unlocked" and node.status["mappings"] == {}


def test_peer_to_peer_the_whole_delay_is_in_the_bound(ptp_net, clocked):  # noqa: F811
    net = ptp_net("gm", "node")
    peer = {"delay_mechanism": "P2P", "logMinPdelayReqInterval": -3}
    net.start_ptp4l("gm", peer)
    net.start_ptp4l("node", {**peer, "slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    node.turns(4)
    assert node.status["path_delay_ns"] > 0
    assert node.status["bound_ns"] > node.status["path_doubt_ns"] == node.status["path_delay_ns"]
    assert node.covered() >= 0.999


@pytest.mark.parametrize("asymmetry_ns", [2_000_000, -2_000_000])
def test_a_wrong_asymmetry_shifts_the_time_unseen(ptp_net, clocked, asymmetry_ns: int):  # noqa: F811
    """ptp4l cannot see it, so the bound cannot either: that is what asymmetry_uncertainty_ns is for."""
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    net.start_ptp4l("node", {"slaveOnly": 1, "delayAsymmetry": asymmetry_ns})
    node = clocked(net, "node")
    node.until("locked")
    node.turns(10)
    assert median(error_ns for error_ns, _, _ in node.errors[-200:]) == pytest.approx(asymmetry_ns, abs=200_000)
    assert median(bound_ns for _, bound_ns, _ in node.errors[-200:]) < 200_000


@pytest.mark.parametrize(("announced_s", "flags", "utc_offset_s"), [(36, "1", 37), (0, "1", 37), (38, "1", 38)])
def test_utc_is_counted_as_ptp4l_counts_it(ptp_net, clocked, announced_s: int, flags: str, utc_offset_s: int):  # noqa: F811
    """A master on the PTP timescale with any UTC offset: ptp4l believes it only when sure, and so do we."""
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    words = (
        f"SET GRANDMASTER_SETTINGS_NP clockClass 248 clockAccuracy 0xfe offsetScaledLogVariance 0xffff "
        f"currentUtcOffset {announced_s} leap61 0 leap59 0 currentUtcOffsetValid 0 ptpTimescale {flags} "
        "timeTraceable 0 frequencyTraceable 0 timeSource 0xa0"
    )
    net.pmc("gm", words)
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    node.turns(4)
    error_ns, bound_ns, _state = node.errors[-1]
    assert node.status["timescale"] == "PTP"
    assert node.status["utc_offset_s"] == utc_offset_s
    assert (
        abs(error_ns) <= bound_ns
    )  # with software stamps a master gives out its CLOCK_REALTIME, whatever it announces
    off_ns = node.status["phc_to_system_ns"] + utc_offset_s * 1_000_000_000
    assert abs(off_ns) <= node.status["phc_to_system_bound_ns"]


def test_a_ptp4l_that_dies_is_named_and_found_again(ptp_net, clocked):  # noqa: F811
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    running = net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    running.kill()
    node.until("holdover")
    assert "ptp4l" in node.status["trouble"]
    net.start_ptp4l("node", {"slaveOnly": 1})
    node.until("locked")
    assert node.status["trouble"] == ""


def test_a_clock_process_that_dies_leaves_a_time_that_holds_over_and_its_next_life_goes_on(ptp_net, clocked, tmp_path):  # noqa: F811
    net = ptp_net("gm", "node")
    net.start_ptp4l("gm")
    net.start_ptp4l("node", {"slaveOnly": 1})
    node = clocked(net, "node")
    node.until("locked")
    epoch = node.status["epoch"]
    newest_ns = read_page(node.run).mappings[Timebase.MONOTONIC].newest_ns
    assert PageClock(node.run).at(newest_ns + 5_000_000_000).state is ClockState.HOLDOVER
    assert PageClock(node.run).at(newest_ns + 500_000_000_000).state is ClockState.UNLOCKED
    node.service.close()
    again = ClockService(node.config, node.events.extend)
    node.service = again
    again.open()
    node.until("holdover")
    assert node.status["epoch"] == epoch
    node.until("locked")
    assert node.status["epoch"] == epoch + 1
    assert node.covered() >= 0.999
