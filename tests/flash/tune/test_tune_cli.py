"""The commands: exit codes, the table, JSON, nothing written where nothing may be."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click
import pytest

from flash.node_cli import node
from flash.tune.jitter import Report, spread
from tests.flash.tune.machine import machine, put, snapshot
from touchline.config.tune import TuneSection
from touchline.shell import guarded

CONFIG = """
[node]
name = "pitch-a1"
run_dir = "run"
[[camera]]
number = 1
source = "pattern"
calibration = "left.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "rack"
ca_file = "ca.pem"
cert_file = "a.crt"
key_file = "a.key"
[process]
capture_cpus = [2, 3]
publisher_cpus = [1]
"""


class Command:
    def __init__(self, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = machine(tmp_path / "root")
        self.config = tmp_path / "node.toml"
        self._capsys, self._monkeypatch = capsys, monkeypatch
        self.write("[tune]\n")

    def write(self, tables: str) -> None:
        self.config.write_text(CONFIG + tables)

    def __call__(self, *words: str, config: bool = True) -> tuple[int | str | None, str, str]:
        """(exit code, standard output, standard error) of ``touchline node tune WORDS``."""
        argv = ["tune", *words, "--root", str(self.root), *(["--config", str(self.config)] if config else [])]
        self._monkeypatch.setattr("sys.argv", ["touchline", "node", *argv])
        code: int | str | None
        try:
            code = guarded(lambda: node.main(argv, standalone_mode=False))
        except SystemExit as end:
            code = end.code
        said = self._capsys.readouterr()
        return code, said.out, said.err


@pytest.fixture
def command(tmp_path, capsys, monkeypatch):
    return Command(tmp_path, capsys, monkeypatch)


def test_a_dry_run_shows_the_difference_and_changes_nothing(command):
    before = snapshot(command.root)
    code, out, _ = command("--dry-run")
    assert code == 0
    assert "change  irq/61 eth0.vm1" in out
    assert "0-11 -> 1" in out
    assert "212992 -> 16777216" in out
    assert "18 of 18 would be written" in out
    assert "belong to the thermal room" in out
    assert snapshot(command.root) == before
    assert not (command.root / "var").exists()


def test_apply_check_undo(command):
    before = snapshot(command.root)
    code, _, err = command("check")
    assert code == 8
    assert "18 of 18 differ: irq/50 host1x_syncpt is 0-11, not 2-3; " in err
    assert "fix: sudo touchline node tune apply" in err
    code, out, _ = command("apply")
    assert (code, out.splitlines()[-1]) == (0, "pitch-a1: 18 changed")
    assert command("apply")[1].splitlines()[-1] == "pitch-a1: 18 unchanged"
    assert command("check")[0] == 0
    code, out, _ = command("undo", config=False)
    assert (code, out.splitlines()[-1]) == (0, "18 restored")
    assert snapshot(command.root) == before
    assert command("undo", config=False)[1] == "nothing was changed in this boot\n"


def test_one_line_that_differs_is_named(command):
    command("apply")
    put(command.root, "/proc/sys/net/core/rmem_max", "212992")
    code, out, err = command("check")
    assert code == 8
    assert "1 of 18 differ: net.core.rmem_max is 212992, not 16777216" in err
    assert "change  net.core.rmem_max" in out


def test_json(command):
    code, out, _ = command("--dry-run", "--json")
    document = json.loads(out)
    assert (code, document["node"], document["wrong"], document["asked"]) == (0, "pitch-a1", 18, True)
    row = next(one for one in document["rows"] if one["key"] == "net.core.rmem_max")
    assert (row["now"], row["want"], row["state"], row["need"]) == ("212992", "16777216", "differs", "required")
    code, out, err = command("check", "--json")
    assert (code, json.loads(out)["wrong"], json.loads(err)["exit_code"]) == (8, 18, 8)
    code, out, _ = command("apply", "--json")
    assert {one["done"] for one in json.loads(out)["outcomes"]} == {"changed"}
    assert {one["done"] for one in json.loads(command("undo", "--json", config=False)[1])["outcomes"]} == {"restored"}


@pytest.mark.parametrize(("late_us", "code"), [(39, 0), (41, 8)])
def test_a_check_measures_where_it_is_told(command, monkeypatch, late_us, code):
    asked = []

    def measure(seconds, cpu):
        asked.append((seconds, cpu))
        quiet = spread([1_000] * 500 + [1_000 + late_us * 1000] * 500)
        return Report(quiet, quiet, 0, 1.5, "SCHED_FIFO 80", True, cpu, "6.1", 90)

    monkeypatch.setattr("flash.tune.jitter.measure", measure)
    command("apply")
    assert command("check", "--measure", "--seconds", "3")[0] == code
    assert command("check", "--measure", "--cpu", "7", "--json")[0] == code
    assert asked == [(3.0, 2), (10.0, 7)]  # the first of capture_cpus, or the CPU that was named
    assert command("check")[0] == 0


def test_needed(command, tmp_path):
    def needed() -> int | str | None:
        with pytest.raises(SystemExit) as end:
            node.main(["tune", "needed", "--config", str(command.config)], standalone_mode=False)
        return end.value.code

    assert needed() == 0
    command.write("")
    assert needed() == 1


def test_a_node_that_did_not_ask_is_left_alone(command):
    command.write("")
    for word in ("apply", "check"):
        code, _, err = command(word)
        assert code == 3
        assert "has no [tune]" in err
    code, out, err = command("--dry-run")
    assert code == 0
    assert "what an empty one would do" in err
    assert "would be written" in out


def test_a_required_thing_that_is_absent_is_exit_7(command):
    command.write('[tune]\nidle = "required"\nidle_cpus = [40]\n')
    code, _, err = command("apply")
    assert code == 7
    assert "idle: this machine offers no idle states on CPUs 40" in err
    assert command("check")[0] == 8


@pytest.mark.parametrize("words", [(), ("--dry-run", "apply"), ("--dry-run", "--json", "check")])
def test_wrong_usage(command, words):
    assert command(*words)[0] == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('irq = "yes"', '"required", "auto", "off"'),
        ('network_interrupts = ["("]', "no regular expression"),
        ('camera_interrupts = [""]', "matches every interrupt"),
        ("camera_cpus = [1, 1]", "each once"),
        ('rmem_max = "100"', "4096 and 1GiB"),
        ('rmem_max = "16 parsec"', "no size"),
        ("jitter_us = 0", "> 0"),
        ("c_states = false", "c_states"),
    ],
)
def test_a_wrong_table_is_refused_with_what_is_allowed(command, line, words):
    command.write(f"[tune]\n{line}\n")
    code, _, err = command("--dry-run")
    assert code == 3
    assert words in err


def test_the_defaults_are_what_was_asked():
    section = TuneSection()
    assert (section.rmem_max_bytes, section.rmem_default_bytes, section.jitter_us) == (16 << 20, 0, 40.0)


def test_every_option_has_a_help_text_and_every_command_an_example():
    for group in ("tune", "encoder"):
        found = node.get_command(click.Context(node), group)
        assert isinstance(found, click.Group)
        for one in [found, *found.commands.values()]:
            assert "Example" in (one.help or "")
            assert all(option.help for option in one.params if isinstance(option, click.Option)), one.name


@pytest.mark.system
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_user_is_told_to_be_root(command):
    folder = command.root / "var"
    folder.mkdir(mode=0o500)
    code, _, err = command("apply")
    assert code == 5
    assert "sudo" in err
