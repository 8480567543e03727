"""``touchline thermal run``, ``status`` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.thermal.service.node import CONFIG
from tests.thermal.test_status import a_status
from thermal.cli import thermal
from thermal.status import write_status
from thermal.types import Fault, Severity
from touchline.errors import ConfigError, GateError, LinkError
from touchline.timeline import monotonic_ns


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "node.toml"
    path.write_text(CONFIG)
    (tmp_path / "run").mkdir()
    return path


def call(*words: str):
    return CliRunner().invoke(thermal, words, prog_name="touchline thermal")


def status(config: Path, *words: str):
    return call("status", "--config", str(config), *words)


def test_a_node_whose_service_does_not_run(config: Path):
    result = status(config)
    assert isinstance(result.exception, LinkError)
    assert "NOT ALIVE, taken for hot" in result.output
    document = json.loads(status(config, "--json").output)
    assert (document["good"], document["hot"], document["status"]) == (False, True, None)


def test_a_well_node(config: Path):
    write_status(config.parent / "run" / "thermal.json", a_status(monotonic_ns()))
    for words in ((), ("--check",)):
        result = status(config, *words)
        assert result.exit_code == 0, result.output
        assert "pitch-a1: well" in result.output
        assert "faults  none" in result.output
    document = json.loads(status(config, "--json").output)
    assert document["status"]["tj_c"] == 61.25


def test_check_fails_for_a_fault(config: Path):
    good = a_status(monotonic_ns())
    fault = Fault("fan_slow", "fan", Severity.WARNING, "1000 rpm", good.at_ns)
    slow = type(good)(**{**{name: getattr(good, name) for name in good.__slots__}, "faults": (fault,)})
    write_status(config.parent / "run" / "thermal.json", slow)
    assert status(config).exit_code == 0
    result = status(config, "--check")
    assert isinstance(result.exception, GateError)
    assert "WARNING fan_slow fan: 1000 rpm" in result.output


@pytest.mark.parametrize("command", ["run", "status"])
@pytest.mark.parametrize(
    ("text", "said"),
    [(CONFIG.partition("[thermal]")[0], "[thermal]"), ("[thermal\n", "node.toml"), (None, "node.toml")],
)
def test_a_configuration_without_it_or_that_cannot_be_read_is_exit_3(
    config: Path, command: str, text: str | None, said: str
):
    """Which systemd does not restart (RestartPreventExitStatus)."""
    config.unlink()
    if text is not None:
        config.write_text(text)
    result = call(command, "--config", str(config))
    assert isinstance(result.exception, ConfigError)
    assert result.exception.exit_code == 3
    assert said in str(result.exception)


def test_help_has_examples():
    for name in ("run", "status"):
        result = call(name, "--help")
        assert "Example" in result.output
        assert "--config" in result.output
