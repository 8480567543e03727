"""Power of a cabinet: what is not told counts with its share, never with 0; the alarm lasts and does not flicker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.core.cabinet import HOLD_NS, Cabinet, CabinetWatch, load_of
from aggregator.core.heat import MAX_POWER_W, HeatWord, heat_word
from aggregator.rack import Rack
from aggregator.report import status_text
from aggregator.store import Group
from aggregator.web.metrics import exposition
from tests.aggregator.match import T0_NS
from tests.aggregator.rig import rack_config
from touchline.config import RackConfig
from touchline.config.loader import parse
from touchline.errors import ConfigError

S = 1_000_000_000
NORTH = Cabinet("north", tuple(f"node-{n}" for n in range(8)))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


# --- the sum ---


def test_eight_nodes_of_twelve_hundred_watts_have_150_each():
    assert NORTH.share_w == 150.0
    assert load_of(NORTH, {}).counted_w == 1200.0
    load = load_of(NORTH, {"node-0": 40.0, "node-9": 999.0})
    assert (load.known_w, load.counted_w) == (40.0, 40.0 + 7 * 150.0)
    assert load.unknown == tuple(f"node-{n}" for n in range(1, 8))


def test_what_else_draws_there_is_no_nodes_share():
    load = load_of(Cabinet("south", ("a", "b"), 500.0, 100.0), {"a": 50.0})
    assert (load.counted_w, load.known_w) == (50.0 + 200.0 + 100.0, 50.0)


@given(
    st.dictionaries(st.sampled_from(NORTH.nodes), st.one_of(st.none(), st.floats(0.1, 2000.0)), max_size=8),
    st.floats(0.0, 1000.0),
)
def test_a_node_that_falls_silent_never_lowers_the_count_below_its_share(powers, other_w):
    cabinet = Cabinet("north", NORTH.nodes, 1200.0, other_w)
    full = load_of(cabinet, powers)
    assert full.counted_w >= full.known_w + other_w
    for name in NORTH.nodes:
        less = load_of(cabinet, {**powers, name: None})
        now_w = powers.get(name)
        gone_w = cabinet.share_w if now_w is None else now_w
        assert less.counted_w == pytest.approx(full.counted_w - gone_w + cabinet.share_w)


def test_silence_alone_is_no_alarm_and_draw_above_the_shares_is():
    watch = CabinetWatch([NORTH])
    assert [watch.review({}, n * S) for n in range(60)] == [[]] * 60
    powers: dict[str, float | None] = dict.fromkeys(NORTH.nodes[:7], 160.0)
    news = [said for n in range(60, 72) for said in watch.review(powers, n * S)]
    assert news == [
        (True, "cabinet north is over its power budget: 1270 W of 1200; of it 150 W each for node-7, unknown")
    ]
    (row,) = watch.rows(80 * S)
    assert (row["alarm"], row["alarm_s"], row["unknown"]) == (True, 10.0, ["node-7"])


@given(st.floats(10.0, 100_000.0), st.floats(0.0, 0.99), st.integers(1, 8))
def test_shares_that_fill_the_budget_are_never_above_it(budget_w, other_part, number):
    cabinet = Cabinet("c", tuple(f"node-{n}" for n in range(number)), budget_w, budget_w * other_part)
    assert load_of(cabinet, {}).counted_w <= cabinet.limit.over_w


def test_the_alarm_holds_and_does_not_flicker():
    watch, powers = CabinetWatch([Cabinet("c", ("a",), 100.0)]), {"over": 101.0, "band": 98.0, "under": 96.0}
    said, now_ns = [], 0
    for what, seconds in (
        ("over", 9),
        ("under", 1),
        ("over", 12),
        ("band", 60),
        ("under", 9),
        ("band", 1),
        ("under", 12),
    ):
        for _ in range(seconds):
            now_ns += S
            said += [(what, alarm) for alarm, _ in watch.review({"a": powers[what]}, now_ns)]
    assert said == [("over", True), ("under", False)]
    assert HOLD_NS == 10 * S


# --- what a node says ---


def health(total: Any = 40.0, **thermal: Any) -> dict[str, Any]:
    said = {"good": True, "why": "", "hot": False, "temp_c": 61.2, "duty_pct": 58.0, "rpm": 1700, "budget_w": 55.0,
            "power_w": {"total": total, "rails": {"VDD_GPU_SOC": 30.0}}, "cap_level": 0, "cap_levels": 6,
            "faults": []}  # fmt: skip
    return {"state": "running", "thermal": {**said, **thermal}}


@pytest.mark.parametrize("total", [None, 0, 0.0, -1.0, MAX_POWER_W + 1, "40", True, [40.0], {}])
def test_what_is_no_power_is_unknown_never_zero(total):
    word = heat_word(health(total))
    assert word is not None
    assert word.power_w is None


def test_a_node_without_a_fan_service_says_nothing_and_one_whose_is_dead_is_hot():
    assert heat_word({"state": "running"}) is None
    word = heat_word(health(good=False, why="the status is 9 s old", hot=False))
    assert word == HeatWord(why="the status is 9 s old")
    assert word is not None
    assert word.hot
    assert word.power_w is None


@given(json_values, st.dictionaries(st.sampled_from([*health()["thermal"]]), json_values))
def test_whatever_a_node_says_it_is_taken_as_a_claim(value, thermal):
    heat_word({"thermal": value})
    word = heat_word({"thermal": {**health()["thermal"], **thermal}})
    assert word is not None
    assert word.power_w is None or 0 < word.power_w <= MAX_POWER_W
    assert len(word.faults) <= 16
    json.dumps([word.temp_c, word.rpm, dict(word.rails_w)], allow_nan=False)


# --- in the rack ---


class Bench:
    def __init__(self, folder: Path) -> None:
        cabinet = {"name": "north", "nodes": ["node-a", "node-b"], "budget_w": 120.0}
        self.rack = Rack(rack_config(folder, cabinet=[cabinet]))
        self.now_ns = 100 * S

    def say(self, node: str, document: dict[str, Any]) -> None:
        ptp_ns = T0_NS + self.now_ns
        payload = json.dumps({"ptp_ns": ptp_ns, **document}).encode()
        self.rack.message(f"tl/v1/{node}/health", payload, self.now_ns, ptp_ns, Group())

    def seconds(self, number: int, **powers: Any) -> dict[str, Any]:
        for _ in range(number):
            self.now_ns += S
            for node, total in powers.items():
                self.say(f"node-{node}", health(total))
            self.rack.tick(self.now_ns, T0_NS + self.now_ns, Group())
        return self.rack.status(self.now_ns, T0_NS + self.now_ns)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_the_rack_sums_a_cabinet_and_says_when_it_is_over(bench: Bench):
    status = bench.seconds(3, a=40.0, b=45.0)
    (row,) = status["cabinets"]
    assert (row["known_w"], row["counted_w"], row["unknown"], row["alarm"]) == (85.0, 85.0, [], False)
    assert "cabinet   north: within budget, 85 of 120 W counted" in status_text(status)
    status = bench.seconds(12, a=80.0, b=45.0)
    assert status["cabinets"][0]["alarm"]
    assert [(e["severity"], e["code"]) for e in status["events"]] == [("error", "cabinet")]
    assert "OVER BUDGET" in status_text(status)
    status = bench.seconds(12, a=40.0, b=45.0)
    assert not status["cabinets"][0]["alarm"]
    assert status["events"][-1]["text"] == "cabinet north is within its power budget again: 85 W of 120"


def test_a_node_that_dies_counts_with_its_share_and_its_numbers_are_gone(bench: Bench):
    bench.seconds(3, a=40.0, b=45.0)
    status = bench.seconds(7, a=40.0)
    (row,) = status["cabinets"]
    assert (row["known_w"], row["counted_w"], row["unknown"]) == (40.0, 100.0, ["node-b"])
    gone = next(node for node in status["nodes"] if node["node"] == "node-b")["thermal"]
    assert (gone["good"], gone["hot"], gone["temp_c"], gone["power_w"]) == (False, True, None, None)
    text = status_text(status)
    assert "UNKNOWN, counted with 60 W each: node-b" in text
    assert "thermal UNKNOWN, taken for hot: the node does not speak" in text
    assert "thermal 61 C, 58 % fan, 40 W" in text


def test_metrics_have_what_is_known_and_no_more(bench: Bench):
    bench.seconds(3, a=40.0, b=None)
    text = exposition(lambda: bench.rack.status(bench.now_ns, T0_NS + bench.now_ns)).decode()
    assert 'touchline_rack_node_power_w{node="node-a"} 40.0' in text
    assert 'touchline_rack_node_power_w{node="node-b"}' not in text
    assert 'touchline_rack_node_temp_c{node="node-b"} 61.2' in text
    assert 'touchline_rack_cabinet_counted_w{cabinet="north"} 100.0' in text
    assert 'touchline_rack_cabinet_unknown_nodes{cabinet="north"} 1.0' in text
    assert 'touchline_rack_cabinet_alarm{cabinet="north"} 0.0' in text


# --- configuration ---

RACK = """
[mqtt]
host = "localhost"
ca_file = "ca"
cert_file = "cert"
key_file = "key"
[store]
path = "match.sqlite"
"""


def cabinet(nodes: str, more: str = "", name: str = "north") -> str:
    return f'[[cabinet]]\nname = "{name}"\nnodes = {nodes}\n{more}\n'


def test_the_budget_is_that_of_the_requirement():
    found = parse(RACK + cabinet('["a", "b"]'), RackConfig, name="rack.toml").cabinet
    assert (found[0].budget_w, found[0].other_w) == (1200.0, 0.0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (cabinet('["a", "a"]'), "a twice"),
        (cabinet("[]"), "nodes"),
        (cabinet(str([f"n{n}" for n in range(9)]).replace("'", '"')), "nodes"),
        (cabinet('["a"]', "budget_w = 100.0\nother_w = 100.0"), "leaves nothing"),
        (cabinet('["a"]') + cabinet('["b"]'), "two cabinets are named north"),
        (cabinet('["a"]') + cabinet('["a"]', name="south"), "two cabinets hold node a"),
        ('[receive]\nnodes = ["b"]\n' + cabinet('["a"]'), "does not let in a"),
    ],
)
def test_what_does_not_fit_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(RACK + text, RackConfig, name="rack.toml")


def test_a_node_that_falls_silent_ends_no_alarm():
    watch = CabinetWatch([NORTH])
    heavy = {name: 300.0 if number < 4 else 55.0 for number, name in enumerate(NORTH.nodes)}
    told = [watch.review(heavy, T0_NS + second * S) for second in range(30)]
    assert [news[0][0] for news in told if news] == [True]
    silent = {**heavy, **dict.fromkeys(NORTH.nodes[:4])}
    later = [watch.review(silent, T0_NS + second * S) for second in range(30, 90)]
    assert not any(later), "820 W are counted, and nobody knows"
    well = dict.fromkeys(NORTH.nodes, 55.0)
    again = [watch.review(well, T0_NS + second * S) for second in range(90, 150)]
    assert [news[0][0] for news in again if news] == [False]
