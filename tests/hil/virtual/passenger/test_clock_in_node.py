"""Hardware time stamps end to end: our ptp4l unit on a mock PHC, the agent's clock process, stamps beside the truth.

The follower's interface lives in a namespace of the guest, so that a grandmaster fits beside it; our unit is put there
by a drop-in, everything else is as it is shipped. The truth is the grandmaster's own hardware clock, read in the guest.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from hil.virtual.fixtures import lent
from hil.virtual.lending import Lender
from hil.virtual.node import VirtualNode
from hil.virtual.passenger.seat import CONFIG, RUN_DIR, UNIT, node_toml
from hil.virtual.site import Golden
from tests.hil.virtual.waiting import until

pytestmark = [pytest.mark.system, pytest.mark.virtual]

PYTHON = "/opt/touchline/current/venv/bin/python"
PTP4L = "touchline-ptp4l.service"
LIMIT_US = 1_000.0  # a bracket around a read takes tens of microseconds in the emulator
DROP_IN = "[Service]\nNetworkNamespacePath=/run/netns/ptp-b\n"
GRANDMASTER = "systemd-run --unit=grandmaster -p NetworkNamespacePath=/run/netns/ptp-a ptp4l -i ptp0 -H -2 -m -q "
MASTER_WORDS = "--priority1 10 --logSyncInterval -2 --logAnnounceInterval -1 --tx_timestamp_timeout 200"
TRUTH = """
import json, os, sys
from pathlib import Path
from agent.clock.page import PageClock
from touchline.timeline import monotonic_ns, read_clock_ns
clock = PageClock(Path(sys.argv[2]))
phc = (~os.open(sys.argv[1], os.O_RDONLY) << 3) | 3
rows = []
for _ in range(40):
    before_ns, true_ns, after_ns = monotonic_ns(), read_clock_ns(phc), monotonic_ns()
    stamp = clock.at((before_ns + after_ns) // 2)
    rows.append([stamp.ptp_ns - true_ns, stamp.bound_ns, (after_ns - before_ns) // 2, stamp.state.value, stamp.epoch])
print(json.dumps(rows))
"""


@dataclass(frozen=True)
class Told:
    """Stamps made in the guest beside the grandmaster's clock at the same moment, the narrowest bracket of forty."""

    error_ns: int
    bound_ns: int
    half_ns: int
    state: str
    epoch: int

    @property
    def true(self) -> bool:
        """Whether the truth lies within the bound; what the bracket leaves open counts for the stamp."""
        return abs(self.error_ns) <= self.bound_ns + self.half_ns


class Timed:
    """A node whose agent takes its time from a grandmaster beside it."""

    def __init__(self, node: VirtualNode) -> None:
        self.node, self.ptp = node, node.ptp

    def set_up(self) -> None:
        """Clocks, cable and grandmaster; the agent starts anew with its time from there."""
        node = self.node
        self.ptp.build()
        self.ptp.link_delay_ns(500)
        node.run(GRANDMASTER + MASTER_WORDS)
        node.run(f"mkdir -p /run/systemd/system/{PTP4L}.d")
        node.guest.write_file(f"/run/systemd/system/{PTP4L}.d/beside.conf", DROP_IN.encode())
        node.guest.write_file("/run/truth.py", TRUTH.encode())
        ptp = (
            ("interface", "ptp0"),
            ("transport", "L2"),
            ("phc", self.ptp.phc_path("b")),
            ("tx_timestamp_timeout_ms", 200),
            ("discipline_system_clock", False),
        )
        clock = (("source", "ptp"), ("bound_limit_us", LIMIT_US))
        passenger = replace(node.passenger, extra=(("clock", clock), ("clock.ptp", ptp)))
        node.guest.write_file(CONFIG, node_toml(passenger).encode())
        node.run("systemctl daemon-reload")
        node.run(f"systemctl stop {UNIT}", timeout_s=120.0)
        node.run(f"systemctl start --no-block {PTP4L} {UNIT}")
        node.await_agent()

    def page(self) -> dict[str, Any]:
        """What the clock process says."""
        got = self.node.run(f"cat {RUN_DIR}/clock.json", check=False)
        return {} if got.exit_code else json.loads(got.out)["status"]

    def until(self, state: str, true: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any]:
        """Wait for a state of the clock in which something holds, and return what it says then."""
        page: dict[str, Any] = {}

        def look() -> bool:
            page.clear()
            page.update(self.page())
            return bool(page.get("state") == state and true(page))

        try:
            until(look, f"clock '{state}'", self.node, 180.0)
        except AssertionError as error:
            said = self.node.journal(30, PTP4L)
            raise AssertionError(f"{error}\nclock: {page}\n{said}") from error
        return page

    def told(self) -> Told:
        """A stamp beside the truth."""
        words = f"{PYTHON} /run/truth.py {self.ptp.phc_path('a')} {RUN_DIR}"
        rows = json.loads(self.node.run(words, timeout_s=60.0).out)
        return min((Told(*row) for row in rows), key=lambda one: one.half_ns)

    def told_in(self, state: str) -> Told:
        """A stamp made in this state, beside the truth: a busy emulator may leave it for a moment."""
        told: list[Told] = []

        def look() -> bool:
            told.append(self.told())
            return told[-1].state == state

        until(look, f"a stamp '{state}'", self.node)
        return told[-1]


@pytest.fixture(scope="module")
def locked(virtual_golden: Golden, virtual_lender: Lender, virtual_folder: Path) -> Golden:
    """The node with its clock locked, frozen: each test begins there."""
    site = virtual_lender.lend(virtual_golden)
    timed = Timed(site.node("a"))
    timed.set_up()
    timed.until("locked")
    frozen = site.freeze(virtual_folder / "golden-locked", {})
    virtual_lender.close()
    return frozen


@pytest.fixture
def virtual_node(locked: Golden, virtual_lender: Lender, request: pytest.FixtureRequest) -> Iterator[VirtualNode]:
    with lent(locked, virtual_lender, request) as site:
        yield site.node("a")


@pytest.fixture
def timed(virtual_node: VirtualNode) -> Timed:
    return Timed(virtual_node)


def test_stamps_follow_the_grandmasters_hardware_clock(timed: Timed):
    timed.until("locked")
    told = [timed.told_in("locked") for _ in range(3)]
    assert all(one.true for one in told), told
    page = timed.until("locked", lambda page: bool(page["port_state"] == "SLAVE"))
    assert page["method"] == "offset"  # all that the mock and the Orin have
    assert page["path_delay_ns"] == pytest.approx(500, abs=100)
    assert page["phc"] == timed.ptp.phc_path("b")
    known = {"state": "locked", "grandmaster": page["grandmaster"]}
    until(lambda: known.items() <= timed.node.agent_status().get("clock", {}).items(), f"{known}", timed.node)
    assert timed.node.unit("User")["User"] == "touchline"


def test_an_asymmetry_that_comes_later_is_in_the_bound(timed: Timed):
    """ptp4l follows it and cannot see it; the mean delay grows by half of it, and so does our bound."""
    timed.until("locked")
    timed.ptp.asymmetry_ns(4_000_000)
    until(lambda: abs(timed.ptp.offset_ns() + 2_000_000) < 100_000, "the follower's error", timed.node)
    # the longer path is seen, and the bound is beyond the limit of a millisecond
    timed.until("unlocked", lambda page: (page["path_doubt_ns"] or 0.0) > 1_900_000)
    until(lambda: abs(timed.told().error_ns + 2_000_000) < 200_000, "the stamps' error", timed.node)
    told = timed.told_in("unlocked")
    assert told.true, told


def test_lost_transmit_stamps_mean_holdover_and_the_lock_comes_back(timed: Timed):
    timed.until("locked")
    epoch = timed.page()["epoch"]
    timed.ptp.lose_tx_stamps(port="b")
    timed.until("holdover", lambda page: str(page["servo"]).startswith("not locked: "))
    held = timed.told_in("holdover")
    assert held.true, held
    timed.ptp.lose_tx_stamps(False)
    assert timed.until("locked")["epoch"] == epoch
    assert timed.told().true


def test_a_reset_hardware_clock_is_seen_and_the_time_holds_over(timed: Timed):
    timed.until("locked")
    epoch = timed.page()["epoch"]
    timed.ptp.step_phc_ns(5_000_000_000, "b")
    timed.until("holdover")
    held = timed.told()
    assert held.true, held
    page = timed.until("locked", lambda page: bool(page["epoch"] > epoch))
    assert any("step" in step["text"] for step in page["steps"])
    assert timed.told().true
    events = timed.node.journal(400, UNIT)
    assert "the hardware clock stepped" in events
