"""Configuration: the examples load, and every mistake is one line with file, key, range and fix."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchline.config import NodeConfig, RackConfig, load, parse
from touchline.errors import ConfigError

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
NODE = (EXAMPLES / "node.toml").read_text()


def mistake(text: str, change: tuple[str, str]) -> ConfigError:
    assert change[0] in text
    with pytest.raises(ConfigError) as caught:
        parse(text.replace(*change), NodeConfig, name="node.toml")
    return caught.value


def test_the_commented_examples_load():
    node = load(EXAMPLES / "node.toml", NodeConfig)
    assert node.camera[0].calibration == EXAMPLES.resolve() / "left.json"
    assert node.camera[0].options["file"] == str(EXAMPLES.resolve() / "left_camera.mp4")
    assert load(EXAMPLES / "rack.toml", RackConfig).mqtt.client_id == "touchline-rack"


def test_every_default_shown_in_the_node_example_is_the_real_one():
    """Uncommenting a shown default changes nothing, but for the few lines that show a choice instead."""
    choices = ("model", "roi", "capture_cpus", "inference_cpus", "publisher_cpus", "loop", "first_frame")
    lines = []
    for line in NODE.splitlines():
        body = line.removeprefix("# ")
        shown = line.startswith("# ") and " = " in body and body.split(" = ")[0].isidentifier()
        lines.append(body if shown and body.split(" = ")[0] not in choices else line)
    assert "\n".join(lines) != NODE
    assert parse("\n".join(lines), NodeConfig) == parse(NODE, NodeConfig)


def test_an_unknown_key_is_named_with_the_nearest_known_one():
    error = mistake(NODE, ("[ring]\n", "[ring]\nhugepage = true\n"))
    assert str(error) == "node.toml: unknown key ring.hugepage — did you mean 'hugepages'?"
    assert error.exit_code == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("slots = 60 ", "slots = 1 "), ["ring.slots = 1", ">= 4", "<= 100000"]),
        (('lock = "auto"', 'lock = "maybe"'), ["ring.lock", '"required", "auto", "off"']),
        (("number = 1 ", "number = '1' "), ["camera[0].number", "whole number"]),
        (('name = "pitch-a1"', 'name = "Pitch A1"'), ["node.name = 'Pitch A1'", "a-z0-9-", "{1,16}"]),
        (('spool_dir = "/var/lib/touchline/spool"', ""), ["publish.spool_dir is missing"]),
        (("# window_ms = 0.0 ", "window_ms = 251.0 "), ["publish.window_ms = 251.0", "<= 250.0"]),
        (('# spool_max = "512MiB"', 'spool_max = "5 parsecs"'), ["publish.spool_max = '5 parsecs'", "no size"]),
        (('# spool_max = "512MiB"', 'spool_max = "5"'), ["publish.spool_max", "1MiB"]),
        (("[node]", "[node"), ["not valid TOML"]),
        (('# on_unlocked = "flag"', 'on_unlocked = "required"'), ["clock", "never is locked"]),
        (('name = "pitch-a1"', 'name = "aggregator"'), ["node.name = 'aggregator'", "rack's certificate"]),
    ],
)
def test_mistakes_name_key_value_range(change, words):
    text = str(mistake(NODE, change))
    for word in words:
        assert word in text


def test_camera_numbers_must_differ():
    second = NODE.split("[ring]")[0].split("[[camera]]")[1]
    error = mistake(NODE, ("[ring]", f"[[camera]]{second}[ring]"))
    assert "repeat" in str(error)


def test_two_mistakes_are_both_named():
    error = mistake(NODE.replace("slots = 60 ", "slots = 0 "), ("port = 9464", "port = 70000"))
    assert "ring.slots" in str(error)
    assert "metrics.port" in str(error)


def test_missing_and_huge_files(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.toml", NodeConfig)
    (tmp_path / "big.toml").write_bytes(b"#" * (1 << 20) + b"\n")
    with pytest.raises(ConfigError, match="1 MiB"):
        load(tmp_path / "big.toml", NodeConfig)


@given(st.text(max_size=200))
def test_any_text_is_a_configuration_or_a_config_error(text):
    with pytest.raises(ConfigError):
        parse(text, NodeConfig)
