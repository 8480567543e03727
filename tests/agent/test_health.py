"""The node's picture of itself: totals over lives, worst stage, drops by reason, metrics from the same view."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry, generate_latest

from agent.cli import status_text
from agent.parent.children import ChildHandle
from agent.parent.health import NodeView, Rates
from agent.parent.metrics import NodeCollector
from agent.processes.spec import ChildSpec, Role
from agent.ring import ReaderLedger, RingLedger
from agent.supervise import RestartBudget
from touchline.timeline import ClockState, Stamp


def child(
    role: Role, camera: int | None, report: dict[str, object], carried: dict[str, int] | None = None
) -> ChildHandle:
    spec = ChildSpec(role, "node.toml", -1, "00" * 16, camera)
    return ChildHandle(spec, (), RestartBudget(5, 60), report=report, carried=carried or {})


def view() -> NodeView:
    summary = {"count": 10, "p50": 1.0, "p99": 2.0, "max": 3.0}
    slower = {"count": 8, "p50": 4.0, "p99": 5.0, "max": 6.0}
    children = [
        child(Role.CAPTURE, 0, {"counters": {}}),
        child(
            Role.INFERENCE,
            0,
            {"counters": {"processed": 9, "dropped_link": 4, "tracker_resets": 1}, "stages": {"infer": summary}},
            {"processed": 5},
        ),
        child(Role.INFERENCE, 1, {"counters": {"processed": 8}, "stages": {"infer": slower}}),
        child(Role.PUBLISHER, None, {"counters": {"queued": 7}, "spool": {"records": 3, "trouble": ""}}),
    ]
    place = ReaderLedger(handed=9, skipped=1, late=0, abandoned=0, overruns=0, lag=4, lives=1, pid=1)
    unused = ReaderLedger(handed=0, skipped=0, late=0, abandoned=0, overruns=0, lag=10, lives=0, pid=0)
    ledger = RingLedger(10, 2, 0, 1, 1, True, (place, unused))
    stamp = Stamp(10**18, 500, 0, ClockState.UNLOCKED)
    return NodeView("n", 77, 1, "00", "running", "", stamp, children, {1: ledger}, {1: 25.0})


def test_totals_never_go_back_over_a_restart():
    assert view().total("processed") == 22
    assert view().captured() == 10


def test_drops_are_summed_by_reason_and_zero_is_not_a_drop():
    assert view().drops() == {"camera": 2, "ring": 1, "link": 4}


def test_a_stage_shows_its_worst_camera():
    assert view().stages()["infer"] == {"count": 10, "p50": 4.0, "p99": 5.0, "max": 6.0}


def test_the_document_is_complete():
    document = view().document()
    assert document["spool"] == {"records": 3, "trouble": ""}
    assert document["queued"] == 7
    assert set(document["children"]) == {"capture0", "inference0", "inference1", "publisher"}


SAYS = {"state": "locked", "source": "ptp", "limit_ns": 1000, "offset_ns": -7, "path_delay_ns": None, "trouble": ""}


def test_the_clock_document_is_what_the_clock_process_says_with_the_present_stamp():
    bare = view().clock_document()
    assert bare == {"state": "unlocked", "bound_ns": 500, "epoch": 0, "ptp_ns": 10**18}
    assert replace(view(), clock_says=SAYS).clock_document() == {**SAYS, **bare}


def test_metrics_of_the_clock_show_what_is_known():
    page = metrics(lambda: replace(view(), clock_says=SAYS))
    for line in (
        "touchline_clock_bound_ns 500.0",
        "touchline_clock_epoch 0.0",
        "touchline_clock_limit_ns 1000.0",
        "touchline_clock_offset_ns -7.0",
        'touchline_clock_state{state="unlocked"} 1.0',
        'touchline_clock_state{state="locked"} 0.0',
        'touchline_clock_state{state="holdover"} 0.0',
    ):
        assert line in page
    assert "touchline_clock_path_delay_ns" not in page, "no reading is not 0"
    assert "touchline_clock_residual_ns" not in page
    assert "touchline_clock_offset_ns" not in metrics(view)


def test_a_person_sees_the_clock():
    words = {"frames": {"captured": 1, "processed": 1}, "records": 0, "spool": {}, "dropped": {}, "stages_ms": {}}
    document = {"node": "n", "state": "degraded", "reason": "r", "fps": {}, "children": {}, **words}
    clock = {"state": "holdover", "bound_ns": 900, "epoch": 2, "ptp_ns": 1}
    assert "  clock holdover, bound 0.9 us, epoch 2\n" in status_text({**document, "clock": clock})
    more = {**clock, "source": "ptp", "limit_ns": 1000, "grandmaster": "0011", "trouble": "no ptp4l answers"}
    line = "clock holdover, bound 0.9 us, epoch 2, limit 1 us, source ptp, grandmaster 0011, trouble no ptp4l answers"
    assert line in status_text({**document, "clock": more})


def test_rates_need_two_looks():
    rates = Rates()
    rates.look(1, 100, 0)
    assert rates.fps == {}
    rates.look(1, 150, 2_000_000_000)
    assert rates.fps == {1: 25.0}


def metrics(of: Callable[[], NodeView | None]) -> str:
    registry = CollectorRegistry()
    registry.register(NodeCollector(of))
    return generate_latest(registry).decode()


def test_metrics_show_each_process():
    page = metrics(view)
    for line in (
        'touchline_stage_ms{process="inference1",quantile="p50",stage="infer"} 4.0',
        'touchline_frames_total{what="captured"} 10.0',
        'touchline_dropped_total{reason="ring"} 1.0',
        'touchline_tracker_total{process="inference0",what="resets"} 1.0',
        'touchline_ring_lag_frames{camera="1",reader="0"} 4.0',
        "touchline_clock_bound_ns 500.0",
    ):
        assert line in page
    assert 'reader="1"' not in page, "a place that nobody reads has no lag"


def test_metrics_before_the_first_view_are_empty():
    assert "touchline" not in metrics(lambda: None)


def test_a_childs_orders_survive_the_command_line():
    spec = ChildSpec(Role.INFERENCE, "a b.toml", 7, "ff" * 16, 1, "5:6,7", 9)
    assert ChildSpec.from_text(spec.to_text()) == spec
    assert spec.name == "inference1"


# --- failover ---

PART = {
    "role": "active", "epoch": 9, "open": True, "held_batches": 7, "covered": 40, "covered_batches": 5, "doubts": 1,
    "cursor_age_ms": 12.5, "service": True,
}  # fmt: skip


def paired(*, running: bool = True) -> NodeView:
    one = view()
    publisher = one.children[-1]
    publisher.report = {**publisher.report, "failover": dict(PART)}
    publisher.process = object() if running else None  # type: ignore[assignment]
    return one


def test_without_failover_nothing_is_said_of_it():
    assert "failover" not in view().document() and "recording" not in view().document()
    assert "touchline_failover" not in metrics(view)


def test_the_node_says_its_role_and_the_gates_epoch():
    failover, document = paired().failover(), {**view().document(), "failover": PART, "epoch": 9}
    assert failover == PART
    assert document["epoch"] == 9
    gone = paired(running=False).failover()
    assert (gone["role"], gone["open"], gone["service"]) == ("standby", False, False), "it has no part now"


def test_metrics_of_failover():
    one = paired()
    page = metrics(lambda: one)
    for line in (
        'touchline_failover_role{role="active"} 1.0',
        'touchline_failover_role{role="standby"} 0.0',
        "touchline_failover_epoch 9.0",
        "touchline_failover_open 1.0",
        "touchline_failover_cursor_age_ms 12.5",
        "touchline_failover_covered_batches_total 5.0",
        "touchline_failover_doubts_total 1.0",
    ):
        assert line in page


def test_a_person_sees_the_role():
    words = {"frames": {"captured": 1, "processed": 1}, "records": 0, "spool": {}, "dropped": {}, "stages_ms": {}}
    clock = {"state": "holdover", "bound_ns": 900, "epoch": 2, "ptp_ns": 1}
    document = {"node": "n", "state": "running", "reason": "", "fps": {}, "children": {}, "clock": clock, **words}
    assert "failover" not in status_text(document)
    shown = "failover active, epoch 9, gate open, 5 of 7 held batches covered by the twin, cursor 12.5 ms behind\n"
    assert shown in status_text({**document, "failover": PART})
    assert "NO FAILOVER SERVICE" in status_text({**document, "failover": {**PART, "service": False}})
