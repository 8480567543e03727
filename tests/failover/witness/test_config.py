"""``[witness]``: what it takes, and what it says of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from touchline.config import RackConfig, load, parse
from touchline.config.witness import WitnessSection
from touchline.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "rack.toml"
TEXT = EXAMPLE.read_text()


def section(text: str) -> WitnessSection:
    found = parse(text, RackConfig, name="rack.toml").witness
    assert found is not None
    return found


def test_the_example_loads_and_shows_true_defaults():
    assert load(EXAMPLE, RackConfig).witness == section(TEXT)
    lines = TEXT[TEXT.index("[witness]") :].splitlines()
    shown = [line.removeprefix("# ") if " = " in line and not line.startswith("# pairs") else line for line in lines]
    assert section(TEXT[: TEXT.index("[witness]")] + "\n".join(shown)) == section(TEXT)


def test_a_rack_without_a_witness_has_none():
    assert parse(TEXT[: TEXT.index("[witness]")], RackConfig).witness is None


def test_pairs():
    text = TEXT.replace("# pairs = ", "pairs = ")
    assert section(text).pairs == {"goal-1": ["pitch-a1", "pitch-a2"]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (('["pitch-a1", "pitch-a2"] } # absent: any', '["pitch-a1"] } # absent: any'), ["goal-1", "two nodes"]),
        (('["pitch-a1", "pitch-a2"] } # absent: any', '["a", "a"] } # absent: any'), ["goal-1", "two nodes"]),
        (('{ "goal-1" =', '{ "Goal 1" ='), ["witness.pairs", "a-z0-9-"]),
        (('# bind = "0.0.0.0:7401"', 'bind = "7401"'), ["witness.bind", "0.0.0.0:7401"]),
        (("# lease_limit_ms = 200.0", "lease_limit_ms = 701.0"), ["witness.lease_limit_ms = 701.0", "<= 700.0"]),
        (("# first_epoch = 1", "first_epoch = 0"), ["witness.first_epoch = 0", ">= 1"]),
        (('state_file = "/var', 'statefile = "/var'), ["witness.state_file is missing"]),
    ],
)
def test_mistakes_name_key_value_range(change, words):
    text = TEXT.replace("# pairs = ", "pairs = ")
    assert change[0] in text
    with pytest.raises(ConfigError) as caught:
        parse(text.replace(*change), RackConfig, name="rack.toml")
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:7401", "rack.example.org:1"])
def test_addresses_that_are_taken(bind):
    assert section(TEXT.replace('# bind = "0.0.0.0:7401"', f'bind = "{bind}"')).bind == bind
