"""What the fan service says, as health, events and "hot": silence is hot, old numbers are none, storms are bounded."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.publish import thermometer as module
from agent.publish.documents import encode
from agent.publish.heat import MAX_FAULTS, SILENT_NS, UNREAD_NS, Event, Heat, heat_text
from agent.publish.thermometer import Thermometer
from tests.thermal.test_status import a_status, statuses
from thermal.status import Told, read_status, status_path, write_status
from thermal.types import Failed, Fault, Fresh, Severity
from touchline.timeline import monotonic_ns, sleep_until

S = 1_000_000_000
NOW = 100 * S


def fault(code: str = "too_hot", what: str = "tj", severity: Severity = Severity.ALARM) -> Fault:
    return Fault(code, what, severity, "75.1 C, limit 74", NOW)


class Bench:
    def __init__(self) -> None:
        self.heat, self.now_ns = Heat(), NOW

    def say(self, *faults: Fault, hot: bool = False, after_s: float = 1.0, **counted: int) -> list[Event]:
        self.now_ns += int(after_s * S)
        status = replace(a_status(self.now_ns, hot=hot), faults=faults, oc_counted=counted)
        return self.heat.take(Told(status), self.now_ns)

    def silence(self, after_s: float = 1.0) -> list[Event]:
        self.now_ns += int(after_s * S)
        return self.heat.take(Told(a_status(), "the status is 4.0 s old"), self.now_ns)


def test_before_the_first_read_the_node_is_hot():
    heat = Heat()
    assert heat.hot(NOW)
    assert heat.trouble(NOW) == "hot: the fan service's status has not been read yet"
    assert heat.document(NOW)["temp_c"] is None


def test_a_well_node():
    bench = Bench()
    assert bench.say() == []
    assert (bench.heat.hot(bench.now_ns), bench.heat.trouble(bench.now_ns)) == (False, "")
    assert bench.heat.document(bench.now_ns) == {
        "good": True, "why": "", "hot": False, "temp_c": 61.25, "duty_pct": 58.0, "rpm": 1700,
        "power_w": {"total": 24.0, "rails": {"VDD_GPU_SOC": 15.0, "VDD_CPU_CV": 9.0}}, "budget_w": 55.0,
        "cap_level": 0, "cap_levels": 6, "oc_counted": {}, "faults": [], "more_faults": 0,
    }  # fmt: skip


def test_an_alarm_is_hot_and_says_why():
    bench = Bench()
    (event,) = bench.say(fault(), hot=True)
    assert event == {"severity": "error", "code": "thermal_too_hot", "text": "tj: 75.1 C, limit 74"}
    assert bench.heat.trouble(bench.now_ns) == "hot: 75.1 C, limit 74"
    assert bench.heat.document(bench.now_ns)["faults"][0]["code"] == "too_hot"
    (event,) = bench.say()
    assert event == {"severity": "info", "code": "thermal_too_hot", "text": "tj: over"}
    assert not bench.heat.hot(bench.now_ns)


def test_a_dead_service_is_hot_at_once_told_after_five_seconds_and_its_numbers_are_gone():
    bench = Bench()
    bench.say()
    assert bench.silence() == []
    assert bench.heat.hot(bench.now_ns)
    assert bench.heat.document(bench.now_ns)["temp_c"] is None
    assert bench.heat.document(bench.now_ns)["power_w"] == {"total": None, "rails": {}}
    (event,) = bench.silence(after_s=SILENT_NS / S)
    assert (event["severity"], event["code"]) == ("error", "thermal_silent")
    assert bench.silence() == []
    (event,) = bench.say()
    assert (event["severity"], event["text"]) == ("info", "the fan service speaks again")


def test_a_reader_that_hangs_is_hot():
    bench = Bench()
    bench.say()
    assert not bench.heat.hot(bench.now_ns + UNREAD_NS)
    late_ns = bench.now_ns + UNREAD_NS + S
    assert bench.heat.hot(late_ns)
    assert "could not be read for 4 s" in bench.heat.trouble(late_ns)
    assert not bench.heat.document(late_ns)["good"]


def test_a_reading_that_is_not_fresh_is_none():
    heat = Heat()
    status = replace(a_status(NOW), tj=Failed(NOW, "EIO"), power_w={"a": Fresh(9.0, NOW), "b": Failed(NOW, "EIO")})
    heat.take(Told(status), NOW)
    document = heat.document(NOW)
    assert (document["temp_c"], document["power_w"]) == (None, {"total": None, "rails": {"a": 9.0, "b": None}})


def test_a_fault_that_comes_and_goes_is_told_once_a_minute():
    bench = Bench()
    told = [event for number in range(120) for event in bench.say(*([fault()] if number % 2 else []))]
    assert len([event for event in told if event["severity"] == "error"]) == 2
    assert len([event for event in told if event["severity"] == "info"]) == 2


def test_over_current_is_told_by_its_counts_gathered_and_from_the_first_look_on():
    bench = Bench()
    warned = fault("over_current", "oc2", Severity.WARNING)
    assert bench.say(warned, oc2=5) == []
    (event,) = bench.say(warned, oc2=7)
    assert event["code"] == "thermal_over_current"
    assert event["text"] == "oc2 (average current): 2 events, 7 since its start"
    assert [bench.say(warned, oc2=7 + n) for n in range(1, 10)] == [[]] * 9
    (event,) = bench.say(warned, oc2=20)
    assert "13 events" in event["text"]
    (event,) = bench.say(after_s=20, oc2=1)  # the service began anew
    assert "1 events" in event["text"]


def test_a_service_that_begins_anew_is_counted_whole():
    bench = Bench()
    bench.say(oc2=5)
    bench.silence()
    (event,) = bench.say(oc2=3)
    assert "3 events" in event["text"]


def test_a_hundred_faults_make_a_bounded_document_and_bounded_events():
    bench = Bench()
    events = bench.say(*(fault("sensor", f"zone{n}" * 20, Severity.WARNING) for n in range(100)))
    assert len(events) == 33
    document = bench.heat.document(bench.now_ns)
    assert (len(document["faults"]), document["more_faults"]) == (MAX_FAULTS, 100 - MAX_FAULTS)
    assert len(json.dumps(document)) < 8000


@given(st.lists(st.tuples(statuses, st.booleans(), st.integers(0, 10**11)), max_size=6))
def test_whatever_the_status_says_health_can_be_sent(looks):
    heat, now_ns = Heat(), NOW
    for status, good, step_ns in looks:
        now_ns += step_ns
        for event in heat.take(Told(status, "" if good else "old"), now_ns):
            assert event["severity"] in ("info", "warning", "error")
            encode(event)
        assert len(encode(heat.document(now_ns))) < 20_000
        assert heat.hot(now_ns) == (not good or status.hot)
        assert bool(heat.trouble(now_ns)) == heat.hot(now_ns)
        assert heat_text(heat.document(now_ns))


def test_it_is_a_line_for_people():
    bench = Bench()
    bench.say()
    text = heat_text(bench.heat.document(bench.now_ns))
    assert text == "tj 61.25 C, fan 58 % at 1700 rpm, 24.0 of 55 W"
    bench.say(fault(), hot=True)
    text = heat_text(bench.heat.document(bench.now_ns))
    assert text.startswith("HOT, tj 61.25 C")
    assert text.endswith("; ALARM tj: 75.1 C, limit 74")
    bench.silence()
    assert heat_text(bench.heat.document(bench.now_ns)) == "UNKNOWN, taken for hot: the status is 4.0 s old"


# --- the reader ---


def until(thermometer: Thermometer, hot: bool) -> list[Event]:
    events, deadline_ns = [], monotonic_ns() + 60 * S
    while True:
        events += thermometer.pump()
        if thermometer.hot(monotonic_ns()) is hot:
            return events
        assert monotonic_ns() < deadline_ns
        sleep_until(monotonic_ns() + 2_000_000)


def await_trouble(thermometer: Thermometer, words: str) -> None:
    """A reader that hung for three seconds says so first."""
    deadline_ns = monotonic_ns() + 60 * S
    while words not in thermometer.trouble(monotonic_ns()):
        assert monotonic_ns() < deadline_ns, thermometer.trouble(monotonic_ns())
        thermometer.pump()
        sleep_until(monotonic_ns() + 2_000_000)


def test_the_reader_follows_the_file_and_never_raises(tmp_path: Path):
    path = status_path(tmp_path)
    thermometer = Thermometer(path, every_s=0.005)
    try:
        until(thermometer, hot=True)
        write_status(path, a_status(monotonic_ns(), period_s=100.0))
        until(thermometer, hot=False)
        path.write_bytes(b"{")
        until(thermometer, hot=True)
        await_trouble(thermometer, "damaged")
        write_status(path, replace(a_status(monotonic_ns(), hot=True, period_s=100.0), faults=(fault(),)))
        deadline_ns, events = monotonic_ns() + 60 * S, list[Event]()
        while not events and monotonic_ns() < deadline_ns:
            events = thermometer.pump()
        assert "thermal_too_hot" in {event["code"] for event in events}
    finally:
        thermometer.close()


def test_a_folder_that_hangs_holds_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    began, may_end = threading.Event(), threading.Event()

    def hanging(path: Path, now_ns: int) -> Told:
        began.set()
        may_end.wait(60)
        return read_status(path, now_ns)

    monkeypatch.setattr(module, "read_status", hanging)
    thermometer = Thermometer(status_path(tmp_path))
    assert began.wait(60)
    assert thermometer.pump() == []
    assert thermometer.hot(monotonic_ns())
    may_end.set()
    thermometer.close()
