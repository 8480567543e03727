"""Configuration: the examples load, and every mistake is one line with file, key, range and fix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from touchline.config import ClockSection, NodeConfig, PtpSection, RackConfig, load, parse
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
    choices = {"model", "roi", "capture_cpus", "inference_cpus", "publisher_cpus", "loop", "first_frame", "ptp"}
    choices |= {"domain", "transport", "delay_mechanism", "priority1", "priority2", "servo_lock_ns"}  # by the profile
    bare = NODE[: NODE.index("\n# [failover]")]
    assert uncommented(bare, choices) != bare
    assert parse(uncommented(bare, choices), NodeConfig) == parse(NODE, NodeConfig)


def test_every_default_shown_of_an_absent_table_is_the_real_one():
    node = parse(uncommented(NODE.replace("\n# [", "\n["), {"model", "roi", "ptp"}), NodeConfig)
    needed: dict[str, dict[str, Any]] = {
        "failover": {"pair": "p", "twin": "t", "paths": [["a:1", "b:1"]], "witness": "w:1"},
        "record": {"folder": Path("/r")},
        "tune": {},
        "thermal": {},
    }
    for table, values in needed.items():
        section = getattr(node, table)
        bare = type(section).model_validate(values)
        assert section.model_dump(exclude=set(values)) == bare.model_dump(exclude=set(values)), table


def uncommented(text: str, choices: set[str]) -> str:
    """The text with its shown defaults as if they were written, those in ``choices`` aside."""
    lines = []
    for line in text.splitlines():
        body = line.removeprefix("# ")
        shown = line.startswith("# ") and " = " in body and body.split(" = ")[0].isidentifier()
        lines.append(body if shown and body.split(" = ")[0] not in choices else line)
    return "\n".join(lines)


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


# --- clock ----------------------------------------------------------------------------------------------------------


def clock(text: str) -> ClockSection:
    return parse(NODE.split("[clock]")[0] + text + "[[camera]]" + NODE.split("[[camera]]")[1], NodeConfig).clock


PTP = '[clock]\nsource = "ptp"\n'


@pytest.mark.parametrize(
    ("text", "limit_ns", "lock_ns"),
    [
        ("[clock]\n", 2_000_000_000, 1_000_000_000),
        (PTP, 1_000, 500),
        (PTP + '[clock.ptp]\ntime_stamping = "software"\n', 100_000, 50_000),
        (PTP + "bound_limit_us = 0.15\n", 150, 75),
        (PTP + "bound_limit_us = 0.0001\n", 1, 1),
        (PTP + "[clock.ptp]\nservo_lock_ns = 80\n", 1_000, 80),
        ('[clock]\n[clock.ptp]\ntime_stamping = "software"\n', 2_000_000_000, 1_000_000_000),
    ],
)
def test_the_limit_goes_by_the_source(text, limit_ns, lock_ns):
    section = clock(text)
    assert (section.bound_limit_ns, section.servo_lock_ns) == (limit_ns, lock_ns)
    assert section.bound_limit_us * 1000 <= limit_ns


def test_required_goes_with_ptp():
    assert clock(PTP + 'on_unlocked = "required"\n').on_unlocked == "required"


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ("free_running = true", ["free_running", 'time_stamping = "software"']),
        ('profile = "gptp"\ntransport = "UDPv4"', ["gptp", "L2 and P2P"]),
        ('profile = "gptp"\ndelay_mechanism = "E2E"', ["gptp", "L2 and P2P"]),
        ('interface = "eth 0"', ["clock.ptp.interface"]),
        ('interface = "Global"', ["clock.ptp.interface", "cannot be written"]),
        ('uds_path = "/run/a b"', ["clock.ptp.uds_path"]),
        ('uds_path = "ptp4l"', ["clock.ptp.uds_path"]),
        ('phc = "/dev/rtc0"', ["clock.ptp.phc", "/dev/ptp"]),
        ("domain = 128", ["clock.ptp.domain = 128", "<= 127"]),
        ("asymmetry_uncertainty_ns = -1.0", ["clock.ptp.asymmetry_uncertainty_ns", ">= 0"]),
        ("tx_timestamp_timeout_ms = 0", ["clock.ptp.tx_timestamp_timeout_ms = 0", ">= 1"]),
        ("delay_asymmetry_ns = 1.5", ["clock.ptp.delay_asymmetry_ns", "whole number"]),
        ("delay_asymetry_ns = 1", ["unknown key clock.ptp.delay_asymetry_ns", "delay_asymmetry_ns"]),
        ('role = "master"', ["clock.ptp.role", '"follower", "grandmaster"']),
    ],
)
def test_mistakes_in_the_ptp_table(keys, words):
    with pytest.raises(ConfigError) as caught:
        clock(f"{PTP}[clock.ptp]\n{keys}\n")
    for word in words:
        assert word in str(caught.value)


def test_every_key_of_the_clock_has_its_description_and_stands_in_the_example():
    shown = NODE.split("\n[clock.ptp]")[1].split("[[camera]]")[0]
    for name, field in PtpSection.model_fields.items():
        assert field.description, name
        assert f"# {name} = " in shown, name
    assert all(field.description for field in ClockSection.model_fields.values())


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
