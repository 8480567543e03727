"""The plan of a campaign and what its results say together."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from hil.failover.campaign import Figures, Result, Tally, plan
from hil.failover.evidence import completed, load, save
from hil.failover.faults import FAULTS
from hil.failover.judge import Cost, Takeover, Verdict, judge
from hil.failover.recording import Steps
from tests.hil.failover.test_judge import MUST, clean, spared

TIMED = [name for name, fault in FAULTS.items() if fault.timed]
TURN = len(FAULTS) + len(TIMED)


@given(st.integers(1, 300), st.integers(0, 1000))
def test_a_plan_is_even_and_repeatable(trials: int, seed: int):
    chosen = plan(trials, seed)
    assert len(chosen) == trials and chosen == plan(trials, seed)
    counts = Counter(chosen)
    turns, rest = divmod(trials, TURN)
    for name in FAULTS:
        least = turns * (1 + (name in TIMED))
        assert least <= counts[name] <= least + min(rest, 1 + (name in TIMED))


def test_the_timed_faults_come_first_in_a_short_campaign():
    assert set(TIMED) <= set(plan(len(TIMED), 5))


def result(fault: str, total_ms: float | None, *violations: str) -> Result:
    phases = {} if total_ms is None else {"total": total_ms, "address": total_ms}
    return Result(fault, 1, "a", Verdict(total_ms is not None, violations, phases, quiet_ms=7.0))


def test_a_tally_counts_violations_and_times_the_timed():
    results = [result("power-cut", float(ms)) for ms in range(1, 101)]
    results += [result("blind", 400.0), result("direct-down", None, "x", "y"), Result("freeze", 3, "?", None, "broke")]
    tally = Tally(results, other_violations=1)
    assert tally.phases["total"] == Figures(100, 50.0, 99.0, 100.0)
    assert tally.violated == 4
    assert tally.by_fault()["blind"].max == 400.0
    assert tally.quiet_ms() == [7.0]
    assert tally.phase_of("address", ["power-cut"]) == [float(ms) for ms in range(1, 101)]
    assert "NOT JUDGED: broke" in results[-1].text()
    assert "VIOLATED: x; y" in results[-2].text()


def test_evidence_that_was_kept_gives_the_same_verdict(tmp_path: Path):
    for evidence in (clean(), spared(missing=(60, 61))):
        save(evidence, tmp_path / "evidence.json")
        assert load(tmp_path / "evidence.json").spared == evidence.spared
        assert judge(load(tmp_path / "evidence.json"), MUST) == judge(evidence, MUST)


def test_a_trial_answers_for_its_stretch_of_the_film():
    good = replace(result("power-cut", 90.0), film=Steps(40.2, ()))
    torn = replace(result("freeze", 90.0), film=Steps(80.1, ("recording: a step of 80.1 ms after PTP 7",)))
    assert good.good and not torn.good
    assert "VIOLATED: recording: a step of 80.1 ms" in torn.text()
    tally = Tally([good, torn])
    assert tally.violated == 1
    assert (tally.film_steps()["freeze"].max, tally.film_steps()["power-cut"].max) == (80.1, 40.2)


def test_what_a_fault_costs_is_said():
    costly = result("both-active", 900.0)
    assert costly.verdict is not None
    verdict = replace(costly.verdict, cost=Cost("not both agents ran", 70, 57))
    costly = replace(costly, verdict=verdict, film=Steps(40.1, (), spared_ms=2_400.0))
    assert costly.good
    assert "[in the fault 57 of 70 exposures missing: not both agents ran]" in costly.text()
    tally = Tally([costly, result("power-cut", 90.0)])
    assert tally.costs() == {"both-active": [verdict.cost]}
    steps = tally.film_steps()
    assert (steps["both-active"].max, steps["both-active, its own time"].max) == (40.1, 2_400.0)


def test_a_history_completes_a_takeover():
    steps = [
        {"step": "detect", "begun_ms": 0.0, "took_ms": 60.5},
        {"step": "lease", "begun_ms": 60.5, "took_ms": 30.0},
        {"step": "gate", "begun_ms": 90.5, "took_ms": 2.0},
        {"step": "recorder", "status": "skipped"},
    ]
    entry = json.loads(
        json.dumps({"kind": "takeover", "epoch": 6, "ptp_ns": 5_000_000_000, "trigger": "silence", "steps": steps})
    )
    found = completed(Takeover("node-b", 6, 1_092_000_000), [{"kind": "note"}, entry], 4_000_000_000)
    assert (found.suspected_ns, found.gate_ns, found.trigger) == (1_060_500_000, 1_092_500_000, "silence")
    assert completed(Takeover("node-b", 7, 1), [entry], 0) == Takeover("node-b", 7, 1)


def test_every_fault_says_what_must_come_of_it():
    for name, fault in FAULTS.items():
        assert name == fault.name
        assert fault.expected.takeover == "yes" or not fault.timed
