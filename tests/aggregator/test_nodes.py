"""What a node last said, and how old that is: by the document's own time, not by when the broker handed it on."""

import json
from typing import Any

import pytest

from aggregator.core.nodes import NodeBoard
from aggregator.core.validate import Document
from aggregator.rack import Rack
from aggregator.store import Group
from tests.aggregator.match import T0_NS
from tests.aggregator.rig import rack_config

S = 1_000_000_000
HOUR = 3600 * S


class Bench:
    """A board, a clock that is set by hand, and a node whose clock may differ."""

    def __init__(self) -> None:
        self.board, self.now_ns = NodeBoard(), 100 * S
        self.node_ahead_ns = 0

    @property
    def ptp_ns(self) -> int:
        return T0_NS + self.now_ns

    def say(self, kind: str = "health", state: Any = "running", age_ns: int = 0, **value: Any) -> None:
        made_ns = self.ptp_ns + self.node_ahead_ns - age_ns
        document = Document("node-a", kind, {"state": state, "ptp_ns": made_ns, **value})
        self.board.document(document, self.now_ns, self.ptp_ns)

    def row(self) -> dict[str, Any]:
        (row,) = self.board.rows(self.now_ns)
        return row


@pytest.fixture
def bench():
    return Bench()


def test_retained_health_of_a_node_that_died_is_old(bench):
    bench.say(age_ns=3 * HOUR)
    assert bench.row()["health_age_s"] == 3 * 3600.0 and bench.row()["alive"] is False
    bench.now_ns += 5 * S
    assert bench.row()["health_age_s"] == 3 * 3600.0 + 5


def test_health_that_was_just_made_is_fresh_and_ages(bench):
    bench.say(age_ns=40_000_000)
    assert bench.row()["health_age_s"] == 0.04 and bench.row()["alive"] is True
    bench.now_ns += 4 * S
    assert bench.row()["alive"] is True
    bench.now_ns += 2 * S
    assert bench.row()["health_age_s"] == 6.04 and bench.row()["alive"] is False


def test_the_clock_document_has_its_age_too(bench):
    bench.say("clock", "locked", age_ns=HOUR)
    assert bench.row()["clock"]["age_s"] == 3600.0 and bench.row()["alive"] is False


@pytest.mark.parametrize("state", ["offline", "stopped"])
def test_who_said_goodbye_is_not_alive(bench, state):
    bench.say(state=state)
    assert bench.row()["state"] == state and bench.row()["alive"] is False
    bench.say(state="running")
    assert bench.row()["alive"] is True


def test_a_last_will_has_no_time_and_counts_from_its_arrival(bench):
    bench.board.document(Document("node-a", "health", {"state": "offline"}), bench.now_ns, bench.ptp_ns)
    bench.now_ns += 2 * S
    assert bench.row()["health_age_s"] == 2.0 and bench.row()["alive"] is False


@pytest.mark.parametrize("ptp_ns", [-1, 0, 2**62, 1.5, True, "now", None, [1]])
def test_a_time_that_is_none_counts_from_arrival(bench, ptp_ns):
    bench.say(ptp_ns=ptp_ns)
    assert bench.row()["health_age_s"] == 0.0 and bench.row()["alive"] is True


def test_a_clock_ahead_of_ours_makes_no_negative_age(bench):
    bench.node_ahead_ns = HOUR
    bench.say()
    assert bench.row()["health_age_s"] == 0.0
    bench.now_ns += 7 * S
    assert bench.row()["health_age_s"] == 7.0


@pytest.mark.parametrize("ahead_ns", [-40 * 365 * 24 * HOUR, -HOUR, HOUR])
def test_a_node_that_speaks_now_is_alive_whatever_its_clock_says(bench, ahead_ns):
    """A board without a battery starts in 1970: two words as far apart here as there are live ones."""
    bench.node_ahead_ns = ahead_ns
    for _ in range(4):
        bench.say()
        bench.now_ns += S
    assert bench.row()["health_age_s"] == 1.0 and bench.row()["alive"] is True
    bench.node_ahead_ns = 0  # its clock is set
    for _ in range(3):
        bench.say()
        bench.now_ns += S
    assert bench.row()["health_age_s"] == 1.0
    bench.say(age_ns=2 * S)  # held back on the way
    assert bench.row()["health_age_s"] == 2.0


def test_a_queue_that_is_emptied_is_not_a_live_node(bench):
    for age_s in range(60, 30, -1):  # one a second was made, all come within 60 ms; then it died
        bench.say(age_ns=HOUR + age_s * S)
        bench.now_ns += 2_000_000
    assert bench.row()["health_age_s"] == pytest.approx(3600 + 31, abs=0.1) and not bench.row()["alive"]


def test_a_repeated_document_is_not_a_new_word(bench):
    """The broker hands the retained document on again at each new subscription."""
    for _ in range(3):
        bench.say(ptp_ns=T0_NS)
        bench.now_ns += 20 * S
    assert bench.row()["health_age_s"] == 160.0


def clock_events(bench: Bench) -> list[str]:
    return [e.text for e in bench.board.events if (e.node, e.code, e.severity) == ("", "clock", "warning")]


def test_a_step_of_a_nodes_clock_is_in_the_log(bench):
    for epoch in (3, 3, 4, 4):
        bench.say("clock", "locked", epoch=epoch)
        bench.now_ns += S
    assert clock_events(bench) == ["node node-a: clock epoch 3 -> 4"]
    steps = [{"ptp_ns": 1, "text": "old"}, {"ptp_ns": 2, "text": "grandmaster changed"}]
    bench.say("clock", "locked", epoch=5, steps=steps)
    assert clock_events(bench)[1:] == ["node node-a: clock epoch 4 -> 5 (grandmaster changed)"]
    bench.now_ns += S
    bench.say("clock", "locked", epoch=0, steps=steps)
    assert clock_events(bench)[2:] == ["node node-a: clock epoch 5 -> 0 (it counts anew)"]


def test_many_steps_in_a_second_are_one_line(bench):
    for epoch in range(500):
        bench.say("clock", "locked", epoch=epoch)
        bench.now_ns += S // 100
    lines = clock_events(bench)
    assert len(lines) == 4 and lines[0] == "node node-a: clock epoch 0 -> 100"


@pytest.mark.parametrize("epoch", [-1, 2**62, True, "4", None, 4.0])
def test_an_epoch_that_is_none_is_no_step(bench, epoch):
    bench.say("clock", "locked", epoch=3)
    bench.now_ns += S
    bench.say("clock", "locked", epoch=epoch)
    assert clock_events(bench) == [] and bench.row()["clock"]["epoch"] is None


def test_the_row_has_all_that_the_node_says_of_its_clock(bench):
    said = {
        "bound_ns": 48, "epoch": 2, "source": "ptp", "limit_ns": 1000, "offset_ns": -3, "path_delay_ns": 812,
        "residual_ns": 11.5, "grandmaster": "001122.fffe.334455", "port_state": "SLAVE", "timescale": "PTP",
    }  # fmt: skip
    bench.say("clock", "locked", **said)
    assert bench.row()["clock"] == {"state": "locked", "age_s": 0.0, "last_step": "", **said}


def test_the_status_says_so(tmp_path):
    rack = Rack(rack_config(tmp_path))
    health = {"state": "running", "ptp_ns": T0_NS}
    rack.message("tl/v1/node-a/health", json.dumps(health).encode(), 50 * S, T0_NS + HOUR, Group())
    (node,) = rack.status(50 * S, T0_NS + HOUR)["nodes"]
    assert (node["state"], node["health_age_s"], node["alive"]) == ("running", 3600.0, False)


# --- failover ---


def test_the_role_and_its_epoch_are_the_nodes_own_words(bench):
    bench.say(epoch=3)
    assert (bench.row()["role"], bench.row()["epoch"]) == ("", 3)
    bench.say(epoch=3, failover={"role": "standby", "epoch": 8})
    assert (bench.row()["role"], bench.row()["epoch"]) == ("standby", 8)


@pytest.mark.parametrize("said", [None, 1, "active", [], {}, {"role": "king"}, {"role": ["active"]}, {"role": None}])
def test_what_is_no_role_shows_nothing(bench, said):
    bench.say(epoch=3, failover=said)
    assert (bench.row()["role"], bench.row()["epoch"]) == ("", 3)
    bench.say(failover={"role": "active", "epoch": "many"})
    assert (bench.row()["role"], bench.row()["epoch"]) == ("active", None)
