"""The command shell: lazy, complete, and every command documents itself."""

from __future__ import annotations

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from touchline.cli import COMMANDS, touchline


def commands(group: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(group, click.Group):
        return [(path, group)]
    found: list[tuple[tuple[str, ...], click.Command]] = [(path, group)] if path else []
    for name in group.list_commands(click.Context(group)):
        sub = group.get_command(click.Context(group), name)
        assert sub is not None, name
        found += commands(sub, (*path, name))
    return found


def test_help_imports_no_room_and_nothing_heavy():
    code = (
        "import sys; from touchline.cli import touchline;"
        "touchline.main(['--help'], standalone_mode=False);"
        "import json; print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[0] for name in json.loads(done.stderr)}
    assert not loaded & {"agent", "aggregator", "hil", "calibration", "numpy", "cv2", "onnxruntime", "pydantic", "rich"}
    for name in COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_noun_loads_and_shows_examples(name):
    result = CliRunner().invoke(touchline, [name, "--help"])
    assert result.exit_code == 0, result.output
    assert "Example" in result.output


def test_every_command_has_help_with_an_example():
    bare = [" ".join(path) for path, command in commands(touchline) if "Example" not in (command.help or "")]
    assert bare == []


def test_every_option_is_explained():
    silent = [
        f"{' '.join(path)} {option.opts[0]}"
        for path, command in commands(touchline)
        for option in command.params
        if isinstance(option, click.Option) and not option.help
    ]
    assert silent == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell):
    result = CliRunner().invoke(touchline, ["completion", shell])
    assert result.exit_code == 0
    assert "_TOUCHLINE_COMPLETE" in result.output


def test_an_unknown_command_is_usage_error_2():
    done = subprocess.run([sys.executable, "-m", "touchline.cli", "dance"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command" in done.stderr
