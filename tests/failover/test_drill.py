"""The drill's plan: refused when it would do harm, always restored, whatever fails and whoever interrupts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.cut import Restored
from failover.drill import CUT_MS, WATCH_MS, Drill, Phase, Request, Situation, Watched, refusal, run
from failover.drill_report import Continuity, DrillStore, Facts, Mark, compose, drill_text, marks_of
from failover.timeline import draw
from tests.failover.drills import BUDGETS, CUT_PTP_NS, example, release, takeover
from touchline.errors import LinkError
from touchline.windows import parse_window

MS = 1_000_000
SATURDAY = datetime(2026, 11, 21, 15, 0, tzinfo=timezone.utc)
FINE = Situation("active", twin_heard=True, twin_fit=True)
REQUEST = Request("pitch-a1", "pitch-a2", "2026-11-21T10:00:00Z", budgets=BUDGETS)


class FakeHands:
    """A world in which time passes only when asked to; ``fails``: what raises."""

    def __init__(self, fails: set[str] | None = None, calm_after: int = 3) -> None:
        self.fails = fails or set()
        self.now_ns = 10_000 * MS
        self.done: list[str] = []
        self.is_cut = False
        self.prepared = False
        self.calm_after = calm_after
        self.interrupt_after: int | None = None
        self.kept: Mapping[str, Any] = {}

    def _do(self, what: str) -> None:
        self.done.append(what)
        if self.interrupt_after is not None and len(self.done) > self.interrupt_after:
            self.interrupt_after = None
            raise KeyboardInterrupt
        if what in self.fails:
            raise LinkError(f"{what} failed")

    def tell(self, what: Literal["drill-begin", "drill-end"]) -> None:
        self._do(what)

    def prepare(self, max_s: float) -> str:
        assert max_s == 1.0
        self._do("prepare")
        self.prepared = True
        return "eth0"

    def cut(self) -> int:
        assert self.prepared, "the end of the cut must be certain first"
        self._do("cut")  # raises with everything on again
        self.is_cut = True
        return self.now_ns

    def restore(self) -> Restored:
        self.is_cut = False
        self._do("restore")
        return Restored(self.now_ns)

    def watch(self, cut_ns: int, cut_ptp_ns: int) -> Watched:
        self._do("watch")
        looks = self.done.count("watch")
        marks = (*marks_of(takeover(), cut_ptp_ns), *marks_of(release(), cut_ptp_ns))
        return Watched(marks, calm=looks >= self.calm_after)

    def keep(self, report: Mapping[str, Any]) -> None:
        assert not self.is_cut
        self._do("keep")
        self.kept = report

    def film(self, cut_ptp_ns: int, restored_ptp_ns: int) -> Continuity:
        assert not self.is_cut and restored_ptp_ns - cut_ptp_ns >= 1_000 * MS
        self._do("film")
        return Continuity(8.3, 0, wanted=True)

    def ptp_ns(self, at_ns: int) -> int:
        return CUT_PTP_NS

    def sleep(self, until_ns: int) -> None:
        assert until_ns > self.now_ns
        self.now_ns = until_ns


def drilled(hands: FakeHands) -> dict[str, Any]:
    return run(Drill(REQUEST), hands, lambda: hands.now_ns, hands.sleep)


def test_a_drill_in_its_order():
    hands = FakeHands()
    report = drilled(hands)
    assert hands.done == [
        "drill-begin",
        "prepare",
        "cut",
        "restore",
        "watch",
        "watch",
        "watch",
        "drill-end",
        "keep",
        "film",
    ]
    assert report["ok"] is True and report["was_cut_ms"] == CUT_MS
    assert report["summary"] == "ok: switched 101 ms after the cut"
    assert {check["check"]: check["value"] for check in report["checks"]}["largest step of picture time"] == 8.3
    assert report["figures"]["detect_ms"] == 62.0 and report["figures"]["overlap_ms"] == 0.0
    assert [mark["kind"] for mark in report["marks"]][:3] == ["last beat", "cut", "suspicion"]


def test_what_is_known_is_kept_before_the_film_that_may_never_end():
    hands = FakeHands()
    hands.interrupt_after = 9
    with pytest.raises(KeyboardInterrupt):
        drilled(hands)
    assert hands.done[8:10] == ["keep", "film"] and not hands.is_cut
    assert hands.kept["ok"] is True and hands.kept["figures"]["switch_ms"] == 101.1
    assert hands.kept["recording"]["not_measured"] == "not looked at"


def test_a_rack_that_never_calms_down_is_not_watched_for_ever():
    hands = FakeHands(calm_after=10_000)
    begun_ns = hands.now_ns
    assert drilled(hands)["ok"] is True
    assert hands.now_ns - begun_ns <= (CUT_MS + WATCH_MS + 300) * MS


@pytest.mark.parametrize("what", ["drill-begin", "prepare", "cut", "restore", "watch", "drill-end", "keep", "film"])
def test_whatever_fails_the_links_are_on_and_the_report_says_it(what):
    hands = FakeHands({what})
    report = drilled(hands)
    assert not hands.is_cut
    assert report["ok"] is False and report["trouble"] == [f"{what} failed"]
    assert "drill-end" in hands.done[-3:]
    assert "restore" in hands.done
    assert report["summary"] == f"NOT ok: {what} failed"
    draw(report)
    drill_text(report)


@given(
    st.sets(st.sampled_from(["drill-begin", "prepare", "cut", "restore", "watch", "drill-end", "keep", "film"])),
    st.integers(0, 10),
)
def test_failures_and_an_interrupt_at_any_moment_leave_nothing_cut(fails, moment):
    hands = FakeHands(fails)
    hands.interrupt_after = moment
    try:
        report = drilled(hands)
    except (KeyboardInterrupt, LinkError):
        report = None
    assert not hands.is_cut
    if "cut" in hands.done:
        assert "restore" in hands.done[hands.done.index("cut") :]
    if report is not None:
        assert report["ok"] is (not fails)


def test_the_plan_cannot_be_used_out_of_order():
    drill = Drill(REQUEST)
    with pytest.raises(RuntimeError, match="new cannot become"):
        drill.was_cut(1, 1)
    drill.begin()
    with pytest.raises(RuntimeError, match="preparing cannot become"):
        drill.begin()
    assert drill.tick(1 << 60) == [] and drill.phase is Phase.PREPARING


@pytest.mark.parametrize(
    ("situation", "why"),
    [
        (Situation("standby", True, True), "standby"),
        (Situation("active", False, False), "not heard"),
        (Situation("active", True, False), "not fit"),
        (Situation("active", True, True, settled=False), "under way"),
    ],
)
@pytest.mark.parametrize("forced", [False, True])
def test_refused_where_it_would_stop_the_records_even_when_forced(situation, why, forced):
    error = refusal(situation, [], SATURDAY, forced=forced)
    assert error is not None and why in error.message and error.hint


def test_refused_in_a_match_and_shortly_before_unless_forced():
    windows = [parse_window("2026-11-21T15:10/17:00Z")]
    error = refusal(FINE, windows, SATURDAY)
    assert error is not None and '"2026-11-21T15:10/17:00Z"' in error.message and "--force" in error.hint
    assert refusal(FINE, windows, SATURDAY, forced=True) is None
    assert refusal(FINE, windows, SATURDAY - timedelta(minutes=10)) is None
    assert refusal(FINE, windows, SATURDAY + timedelta(minutes=120)) is None


def test_two_active_nodes_and_a_torn_picture_fail_the_drill_with_advice():
    torn = example(step_ms=66.7)
    assert torn["ok"] is False and "512 to 768" in torn["advice"][0]
    assert "failed: largest step of picture time" in torn["summary"]
    missing = example(missing=3)
    assert missing["ok"] is False and "pictures missing" in missing["summary"]
    facts = Facts("a", "b", "2026-11-21T10:00:00Z", CUT_PTP_NS, "eth0", 1000.0, 1000.0, False)
    both = compose(
        facts,
        [Mark("witness", "lease", 80.0), Mark("node", "fenced", 95.0), Mark("rack", "first frame", 90.0)],
        Continuity(),
        {},
    )
    assert both["figures"]["overlap_ms"] == 15.0 and not both["ok"] and "two nodes" in both["advice"][0]
    unseen = compose(facts, [], Continuity(), {})
    assert not unseen["ok"] and "no switch was seen" in unseen["summary"]


def test_what_was_not_measured_is_said_and_not_passed_off_as_good():
    report = example(step_ms=None, missing=None)
    results = {check["check"]: check["result"] for check in report["checks"]}
    assert results["largest step of picture time"] == results["pictures missing"] == "not measured"
    assert results["switch from the cut"] == "ok"
    assert "not measured" in drill_text(report)
    assert not report["ok"] and "not measured: largest step of picture time" in report["summary"]


def test_a_site_that_records_nothing_is_told_why_there_is_no_figure():
    facts = Facts("a", "b", "2026-11-21T10:00:00Z", CUT_PTP_NS, "eth0", 1000.0, 1000.0, False)
    report = compose(facts, [Mark("twin", "gate", 90.0)], Continuity(why="no [record] is set"), {})
    assert report["ok"] and "picture time: not measured: no [record] is set" in drill_text(report)


def test_a_slow_camera_may_take_as_long_as_a_frame():
    facts = Facts("a", "b", "2026-11-21T10:00:00Z", CUT_PTP_NS, "eth0", 1000.0, 1000.0, False)
    marks = [Mark("twin", "gate", 90.0)]
    assert compose(facts, marks, Continuity(40.2, 0, limit_ms=41.0), {})["ok"]
    torn = compose(facts, marks, Continuity(80.0, 1, limit_ms=41.0), {})
    assert not torn["ok"] and "512 to 768" in torn["advice"][0]


def test_a_report_without_a_clock_gives_no_marks():
    assert marks_of({**takeover(), "ptp_ns": 0}, CUT_PTP_NS) == []
    assert marks_of(takeover(), 0) == []


def test_the_last_reports_are_kept_with_their_pictures(tmp_path):
    store = DrillStore(tmp_path / "drills", keep=3)
    for day in range(10, 16):
        report = {**example(), "at": f"2026-11-{day}T10:00:00Z"}
        path = store.save(report, draw(report))
    assert path.name == "drill-20261115T100000Z.json"
    assert [one.name[6:14] for one in store.reports()] == ["20261113", "20261114", "20261115"]
    names = sorted(one.name for one in (tmp_path / "drills").iterdir())
    assert len(names) == 6 and not any(name.endswith(".new") for name in names)
