"""What ptp4l says, put together: whose an offset is, and what an asymmetry of the path may hide. ptp4l is a fake."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.clock.management import (
    CurrentDataSet,
    DefaultDataSet,
    DelayMechanism,
    PortDataSet,
    PortState,
    TimeFlags,
    TimeStatusNp,
)
from agent.clock.watch import PtpFacts, Watch, servo_view
from touchline.config.clock import PtpSection

LOOK_NS = 250_000_000


@dataclass
class Ptp4l:
    """A ptp4l with one port; what it answers is set by hand."""

    grandmaster: str = "gm-a"
    present: bool = True
    port: PortState = PortState.SLAVE
    offset_ns: int = 0
    ingress_ns: int = 0
    delay_ns: float = 0.0
    mechanism: DelayMechanism = DelayMechanism.E2E
    subscribed: bool = field(default=False)

    @property
    def peer(self) -> bool:
        """Whether the delay is that to the neighbour: 3.1.1 leaves the other one at 0 then."""
        return self.mechanism is DelayMechanism.P2P

    def subscribe(self, events: object) -> None:
        self.subscribed = True

    def get(self, wanted: type) -> Any:
        status = {"gm_present": self.present, "gm_identity": self.grandmaster, "master_offset_ns": self.offset_ns}
        answers: dict[type, dict[str, Any]] = {
            TimeStatusNp: {**status, "ingress_time_ns": self.ingress_ns},
            PortDataSet: {
                "port_state": self.port,
                "log_sync_interval": -3,
                "delay_mechanism": self.mechanism,
                "peer_mean_path_delay_ns": self.delay_ns if self.peer else 0.0,
            },
            CurrentDataSet: {"mean_path_delay_ns": 0.0 if self.peer else self.delay_ns},
            DefaultDataSet: {"clock_identity": "us"},
        }
        return SimpleNamespace(
            **answers.get(
                wanted, {"flags": TimeFlags.PTP_TIMESCALE, "current_utc_offset_s": 37, "clock_identity": "us"}
            )
        )


class Watched:
    def __init__(self, folder: Path, stamping: str) -> None:
        self.ptp = PtpSection.model_validate(
            {"time_stamping": stamping, "free_running": stamping == "software", "uds_path": "/run/x"}
        )
        self.watch = Watch(self.ptp, 0, folder)
        self.ptp4l = Ptp4l()
        self.watch.client = self.ptp4l  # type: ignore[assignment]
        self.now_ns = 10**12

    def look(self, **changes: object) -> PtpFacts:
        """A look a quarter of a second later, with a Sync in between; ``changes``: of what ptp4l says."""
        self.now_ns += LOOK_NS
        self.ptp4l.ingress_ns = self.now_ns - 1_000_000
        for name, value in changes.items():
            setattr(self.ptp4l, name, value)
        facts = self.watch.look(self.now_ns)
        assert facts is not None
        return facts

    def measured(self, **changes: object) -> bool:
        """Whether a look brings a new measurement."""
        return self.look(**changes).fresh


@pytest.fixture
def soft(tmp_path):
    return Watched(tmp_path, "software")


@pytest.fixture
def hard(tmp_path):
    return Watched(tmp_path, "hardware")


def test_an_offset_of_the_master_before_is_no_measurement_of_the_next(soft):
    """Seen with 3.1.1: the new master's Syncs, their times, and the old master's offset until the new path is known."""
    soft.look(port=PortState.UNCALIBRATED, offset_ns=-7632, delay_ns=9_882.0)
    assert soft.measured(offset_ns=-7000)
    assert soft.measured(offset_ns=-7632)
    soft.look(port=PortState.LISTENING, present=False, grandmaster="us")
    assert not soft.measured(port=PortState.UNCALIBRATED, present=True, grandmaster="gm-b")
    assert not soft.measured()
    assert not soft.measured()
    assert soft.measured(offset_ns=808, delay_ns=7_355.0)
    assert soft.measured(offset_ns=808), "the same by chance"


def test_a_change_of_masters_between_two_looks_is_seen_too(soft):
    soft.look(offset_ns=5)
    assert soft.measured(offset_ns=9)
    assert not soft.measured(grandmaster="gm-b")
    assert soft.measured(offset_ns=1_000_000_000)


def test_before_the_first_path_is_measured_there_is_no_offset(soft):
    assert not any(soft.measured() for _ in range(4))
    assert soft.measured(offset_ns=2_710)


def test_without_a_delay_response_no_offset_is_ever_a_measurement(soft):
    """Seen with 3.1.1: Syncs come, their times go on, offset and delay stay 0 for good."""
    assert not any(soft.measured(port=PortState.UNCALIBRATED) for _ in range(200))
    view = servo_view(soft.look(), soft.ptp, soft.now_ns)
    assert (view.follows, view.why_not) == (
        False,
        "the path to the master is not measured: no answer to delay requests",
    )


def test_a_new_master_that_answers_no_delay_request_is_not_measured_by_the_old_ones_path(soft):
    """Seen with 3.1.1: offset and delay of the master before stay, both not 0, beside the new one's Syncs."""
    soft.look(port=PortState.UNCALIBRATED, offset_ns=-795, delay_ns=5_945.0)
    assert soft.measured(offset_ns=993, delay_ns=5_487.0)
    assert not any(soft.measured(grandmaster="gm-b") for _ in range(200))
    assert not servo_view(soft.look(), soft.ptp, soft.now_ns).follows
    assert soft.measured(offset_ns=-40, delay_ns=6_100.0)


def test_while_nothing_is_measured_the_servo_is_not_trusted(soft):
    view = servo_view(soft.look(), soft.ptp, soft.now_ns)
    assert (view.follows, view.why_not) == (
        False,
        "the path to the master is not measured: no answer to delay requests",
    )
    facts = soft.look(offset_ns=3)
    assert servo_view(facts, soft.ptp, soft.now_ns).follows
    view = servo_view(facts, soft.ptp, soft.now_ns + 1_800_000_000)
    assert (view.follows, view.why_not) == (False, "no Sync for 1.8 s")


def test_a_grandmaster_measures_nothing_and_serves(soft):
    ptp = soft.ptp.model_copy(update={"role": "grandmaster"})
    facts = soft.look(port=PortState.MASTER, grandmaster="us")
    assert servo_view(facts, ptp, soft.now_ns).follows


def test_peer_to_peer_the_delay_is_that_to_the_neighbour(soft, hard):
    """Seen with 3.1.1: CURRENT_DATA_SET's delay stays 0, the port's peer delay is measured."""
    p2p = DelayMechanism.P2P
    assert soft.look(mechanism=p2p, delay_ns=840.0).path_doubt_ns == 840.0
    assert soft.measured(offset_ns=278) and soft.measured(offset_ns=250, delay_ns=732.0)
    assert hard.look(mechanism=p2p, delay_ns=800.0).path_delay_ns == 800.0
    assert hard.look(delay_ns=830.0).path_doubt_ns == 30.0


def test_with_hardware_stamps_the_offset_is_the_servos_own(hard):
    assert hard.measured(offset_ns=3)
    assert hard.measured(grandmaster="gm-b", port=PortState.UNCALIBRATED)


def test_software_stamps_may_be_wrong_by_the_whole_delay(soft):
    """It is measured as half of there and back, and neither way takes less than no time."""
    assert soft.look(delay_ns=12_000.0).path_doubt_ns == 12_000.0
    view = servo_view(soft.look(delay_ns=4_000.0), soft.ptp, soft.now_ns)
    assert view.path_doubt_ns == 4_000.0
    assert soft.look(delay_ns=-50.0).path_doubt_ns == 50.0


def test_hardware_stamps_may_be_wrong_by_what_the_delay_has_moved(hard):
    assert hard.look(delay_ns=800.0).path_doubt_ns == 0.0
    assert hard.look(delay_ns=830.0).path_doubt_ns == 30.0
    assert hard.look(port=PortState.LISTENING, present=False).path_doubt_ns == 30.0


def test_another_masters_path_is_its_own(hard):
    """ptp4l keeps the old delay until the new one is measured: it is no measure for the new master."""
    hard.look(delay_ns=800.0)
    hard.look(grandmaster="gm-b", port=PortState.UNCALIBRATED)
    hard.look(port=PortState.UNCALIBRATED, delay_ns=2_800.0)
    assert hard.look(port=PortState.SLAVE).path_doubt_ns == 0.0
    assert hard.look(delay_ns=2_850.0).path_doubt_ns == 50.0


def test_the_delay_is_that_of_the_offset_beside_it(hard):
    """Asked with each look: a delay of a second ago says nothing of the offset of now."""
    hard.look(delay_ns=800.0)
    assert hard.look(delay_ns=2_800.0).path_delay_ns == 2_800.0
