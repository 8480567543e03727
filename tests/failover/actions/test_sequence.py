"""The report of a takeover: every step with its budget, what failed, what was skipped; small enough for the link."""

from __future__ import annotations

import errno
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.actions.report import MAX_TEXT, Status, report_text
from failover.actions.sequence import GIVE_UP_MS, Start, Takeover, release_steps, takeover_steps
from failover.core.types import Changed, Role, Settings, Trigger

MS = 1_000_000
SETTINGS = Settings("pitch-a1", "pitch-a2")
START = Start("pitch-a1", "pitch-a2", 1_095 * MS, ptp_ns=5_000_000_000, bound_ns=100)
SILENT = Changed(Role.ACTIVE, 7, Trigger.SILENCE, "pitch-a2 silent for 62 ms", 1_000 * MS, 1_062 * MS)


def full() -> Takeover:
    one = Takeover(SILENT, START, takeover_steps(SETTINGS))
    one.begin("gate", 1_095 * MS)
    one.begin("address", 1_095 * MS)
    one.end("address", 1_096 * MS, detail="192.0.2.10/24 taken on eth0")
    one.begin("announce", 1_096 * MS)
    one.end("announce", 1_097 * MS, detail="2 of 2 frames")
    one.end("gate", 1_105 * MS, detail="first frame camera 0")
    one.begin("recorder", 1_096 * MS)
    one.end("recorder", 1_120 * MS)
    one.begin("event", 1_120 * MS)
    one.end("event", 1_121 * MS)
    return one


def test_a_whole_takeover_as_numbers():
    one = full()
    assert one.complete
    report = one.report()
    assert [(step.step, step.begun_ms, step.took_ms) for step in report.steps] == [
        ("detect", 0.0, 62.0),
        ("lease", 62.0, 33.0),
        ("gate", 95.0, 10.0),
        ("address", 95.0, 1.0),
        ("announce", 96.0, 1.0),
        ("recorder", 96.0, 24.0),
        ("event", 120.0, 1.0),
    ]
    assert report.ok and report.elapsed_ms == 121.0 and report.sum_ms == 132.0
    assert report.ptp_ns == 5_000_000_000 - 95 * MS  # of the twin's last beat
    assert report.start == "last beat" and report.limit_ms == 800.0


def test_it_reads_well():
    text = report_text(full().report().document())
    assert text.splitlines()[0] == "pitch-a1 takes over from pitch-a2, epoch 7: pitch-a2 silent for 62 ms"
    assert "1  detect     80.0 ms    0.0 ms   62.0 ms  ok: trigger silence" in text
    assert text.splitlines()[-1].endswith("121.0 ms  ok, limit 800 ms (FOV-1)")
    assert full().report().line() == "takeover with epoch 7, silence: ok, 121.0 of 800 ms"


def test_one_failed_step_is_named_with_its_code_and_stops_no_other():
    one = Takeover(SILENT, START, takeover_steps(SETTINGS))
    one.begin("address", 1_095 * MS)
    one.end("address", 1_145 * MS, code=errno.EPERM, detail="no CAP_NET_ADMIN")
    one.skip("announce", "the address is not held")
    for name in ("gate", "recorder", "event"):
        one.end(name, 1_150 * MS)
    report = one.report()
    assert one.complete and not report.ok
    address = report.document()["steps"][3]
    assert address["status"] == "failed" and address["code"] == 1 and address["late"] is True
    assert "FAILED (1), late: no CAP_NET_ADMIN" in report_text(report.document())
    announce = report.document()["steps"][4]
    assert announce == {
        "step": "announce", "order": 5, "budget_ms": 10.0, "status": "skipped", "detail": "the address is not held"
    }  # fmt: skip


def test_slower_than_fov_1_is_not_ok():
    one = full()
    late = Takeover(SILENT, START, takeover_steps(SETTINGS))
    for name in ("gate", "address", "announce", "recorder"):
        late.end(name, 1_120 * MS)
    late.begin("event", 1_120 * MS)
    late.end("event", 1_801 * MS)
    assert one.report().ok and not late.report().ok
    assert "NOT ok, limit 800 ms" in report_text(late.report().document())


def test_a_step_that_never_ends_is_closed_and_what_waits_for_it_too():
    one = Takeover(SILENT, START, takeover_steps(SETTINGS))
    one.begin("gate", 1_095 * MS)
    one.begin("address", 1_095 * MS)
    one.give_up(one.give_up_ns - 1)
    assert one.pending("gate")
    one.give_up(one.give_up_ns)
    found = {step.step: step for step in one.report().steps}
    assert found["gate"].status is Status.FAILED and found["gate"].code == errno.ETIMEDOUT
    assert found["gate"].took_ms == GIVE_UP_MS
    assert found["announce"].status is Status.SKIPPED
    assert one.complete


def test_without_a_silence_nothing_was_detected():
    change = Changed(Role.ACTIVE, 3, Trigger.HANDOVER, "handover asked")
    report = Takeover(change, START, takeover_steps(SETTINGS)).report()
    assert report.steps[0].status is Status.SKIPPED and "handover" in report.steps[0].detail
    assert report.start == "change" and report.ptp_ns == START.ptp_ns


def test_a_release_shuts_the_gate_before_all_else():
    change = Changed(Role.STANDBY, 3, None, "lease over")
    one = Takeover(change, START, release_steps())
    report = one.report()
    assert report.kind == "release"
    assert [(step.step, step.status) for step in report.steps[:2]] == [
        ("gate", Status.OK),
        ("address", Status.WAITING),
    ]
    assert "hands over to" in report_text(report.document())


@pytest.mark.parametrize(
    ("settings", "sum_ms"),
    [
        (SETTINGS, 80 + 60 + 130),
        (Settings("a", "b", beat_ns=200 * MS, silence_ns=600 * MS, lease_ns=100 * MS), 620 + 20 + 130),
        (Settings("a", "b", silence_ns=600 * MS), 620 + 20 + 130),
    ],
)
def test_the_plan_adds_up(settings, sum_ms):
    assert sum(step.budget_ms for step in takeover_steps(settings)) == sum_ms


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "end", "skip", "give_up"]),
            st.sampled_from([step.name for step in takeover_steps(SETTINGS)]),
            st.integers(0, 4_000),
            st.integers(0, 200),
        ),
        max_size=40,
    ),
    st.text(max_size=300),
)
def test_whatever_comes_in_whatever_order_the_report_is_whole_and_small(events, words):
    one = Takeover(
        Changed(Role.ACTIVE, 2**53, Trigger.SILENCE, words, 900 * MS, 1_000 * MS), START, takeover_steps(SETTINGS)
    )
    for what, name, at_ms, code in events:
        at_ns = (1_095 + at_ms) * MS
        if what == "begin":
            one.begin(name, at_ns)
        elif what == "end":
            one.end(name, at_ns, code=code, detail=words)
        elif what == "skip":
            one.skip(name, words)
        else:
            one.give_up(at_ns)
    one.give_up(one.give_up_ns)
    assert one.complete
    document = one.report().document()
    assert [step["order"] for step in document["steps"]] == list(range(1, 8))
    for step in document["steps"]:
        assert step["status"] in ("ok", "failed", "skipped")
        assert step["status"] == "skipped" or step["took_ms"] >= 0
        assert len(json.dumps(step.get("detail", ""))) <= MAX_TEXT
    assert len(json.dumps(document)) <= 3_500  # the link takes 4 KiB with its envelope
    assert json.loads(json.dumps(document)) == document
    assert report_text(document).count("\n") >= 10
