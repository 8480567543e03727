"""Rates, latencies and gaps in them: no reading is not zero."""

from aggregator.core.desk import Outcome
from aggregator.core.statistics import Figures, History, Rate
from aggregator.core.validate import Reason, Refusal

S = 1_000_000_000


def test_a_rate_counts_whole_seconds_and_forgets():
    rate = Rate(5)
    for second in range(10):
        rate.add(100, second * S)
    assert rate.per_second(10 * S) == 100.0
    assert rate.per_second(12 * S) == 60.0
    assert rate.per_second(30 * S) == 0.0
    assert Rate().per_second(0) == 0.0


def test_a_rate_in_its_first_seconds_is_not_diluted():
    rate = Rate(5)
    rate.add(40, 0)
    rate.add(60, S)
    assert rate.per_second(2 * S) == 50.0


def test_the_history_has_holes_where_nothing_came():
    history = History()
    for value in range(1, 101):
        history.add(float(value), 5 * S)
    history.add(7.0, 9 * S)
    assert history.points(10 * S) == [(5, 50.0, 99.0), (1, 7.0, 7.0)]
    assert history.points(500 * S) == []


def test_what_is_unknown_is_none():
    figures = Figures()
    assert figures.latency_ms.summary() is None and figures.stream_rows(0) == []
    figures.frame("a", 3, 26, 12.0, S)
    (row,) = figures.stream_rows(3 * S)
    assert (row["node"], row["camera"], row["quiet_s"]) == ("a", 3, 2.0)
    assert row["latency_ms"] == {"count": 1, "p50": 12.0, "p99": 12.0, "max": 12.0}


def test_refused_records_are_not_refused_messages():
    figures = Figures()
    figures.count(Outcome(refusal=Refusal(Reason.NON_FINITE, "a", ""), non_finite=3), 0)
    figures.count(Outcome(refusal=Refusal(Reason.CORRUPT, "a", "")), 0)
    assert figures.refused == {"corrupt": 1} and figures.totals["refused_records"] == 3
