"""The house keeps its own rules: README commands exist, rooms explain themselves, sizes, lock, layers' data folders."""

from __future__ import annotations

import ast
import importlib
import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import click
import pytest

from touchline.cli import touchline
from touchline.config import NodeConfig, RackConfig, Section

REPO = Path(__file__).resolve().parents[1]
ROOMS = ("touchline", "agent", "calibration", "thermal", "failover", "aggregator", "flash", "hil")
DOCUMENTS = [REPO / "README.md", REPO / "CONTRIBUTING.md", *sorted((REPO / "docs").glob("*.md"))]


def sources(*folders: str) -> list[Path]:
    return [path for folder in folders for path in sorted((REPO / folder).rglob("*.py"))]


def commands_in(document: Path) -> list[str]:
    """Command lines of the fenced blocks, prompts removed, continued lines joined."""
    blocks = re.findall(r"```(?:sh|bash|console)?\n(.*?)```", document.read_text(), re.S)
    joined = "\n".join(blocks).replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if re.match(r"(touchline|make|python -m|\.venv/bin/touchline) ?", line)]


def resolve(words: list[str]) -> None:
    """Walk a touchline command line down to its command and look up each option."""
    command: click.Command = touchline
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(click.Context(command), words.pop(0))
        assert found is not None
        command = found
    options = {name for parameter in command.params for name in parameter.opts} | {"--help", "-h", "--version"}
    for word in words:
        if word.startswith("--"):
            assert word.split("=")[0] in options, word


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_that_a_document_shows_exists(document):
    makefile = (REPO / "Makefile").read_text()
    for line in commands_in(document):
        words = [word for word in shlex.split(line, comments=True) if not re.fullmatch(r"[|<>&]+.*", word)]
        program = words.pop(0).removeprefix(".venv/bin/")
        if program == "touchline":
            resolve(words)
        elif program == "make":
            assert re.search(rf"^{words[0]}:", makefile, re.M), line
        else:
            assert (REPO / (words[1].replace(".", "/") + ".py")).exists() or (
                REPO / words[1].replace(".", "/") / "__main__.py"
            ).exists(), line


def test_the_readme_shows_the_two_commands():
    shown = commands_in(REPO / "README.md")
    assert any(line.startswith("make demo") for line in shown)
    assert any(line.startswith("make test") for line in shown)


@pytest.mark.parametrize("room", [*ROOMS, "systemd", "devicetree", "docs", "tests", "benchmarks"])
def test_every_folder_explains_itself(room):
    assert (REPO / room / "README.md").stat().st_size > 100


def test_data_folders_are_no_packages():
    assert not (REPO / "systemd" / "__init__.py").exists()
    assert not (REPO / "devicetree" / "__init__.py").exists()


def test_no_file_over_400_lines_and_no_function_over_50():
    long = []
    for path in sources(*ROOMS, "benchmarks"):
        text = path.read_text()
        if text.count("\n") > 400:
            long.append(f"{path.relative_to(REPO)}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                size = (node.end_lineno or 0) - node.lineno + 1
                if size > 50:
                    long.append(f"{path.relative_to(REPO)} {node.name}: {size} lines")
    assert long == []


def test_the_lock_has_hashes_and_no_address():
    for name in ("run.txt", "dev.txt"):
        text = (REPO / "requirements" / name).read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|file:|--index|--find-links", text)


def test_no_gpl_library_is_imported_by_the_rooms():
    for path in sources(*ROOMS):
        assert not re.search(r"^\s*(import|from) (av|ultralytics|boxmot|linuxpy)\b", path.read_text(), re.M), path


def test_scripts_can_be_run():
    done = subprocess.run(["git", "ls-files", "scripts", ".ci"], cwd=REPO, capture_output=True, text=True, check=True)
    for name in done.stdout.split():
        assert (REPO / name).stat().st_mode & 0o111, f"{name} is not executable"


def test_every_role_of_a_child_has_its_job():
    from agent.processes.__main__ import JOBS
    from agent.processes.spec import Role

    assert set(JOBS) == set(Role)
    for module, function in JOBS.values():
        assert callable(getattr(importlib.import_module(module), function))


def test_every_key_of_a_configuration_stands_in_its_example():
    for model, name in ((NodeConfig, "node.toml"), (RackConfig, "rack.toml")):
        text = (REPO / "docs" / "examples" / name).read_text()
        for table, field in model.model_fields.items():
            section = next(
                part
                for part in (field.annotation, *get_args(field.annotation))
                if isinstance(part, type) and issubclass(part, Section)
            )
            assert re.search(rf"^# ?\[+{table}\]|^\[+{table}\]", text, re.M), f"[{table}] in {name}"
            shown = {key for key in section.model_fields if re.search(rf"^(# )?{key} = |camera.{key}", text, re.M)}
            missing = sorted(set(section.model_fields) - shown)
            assert missing == [], f"[{table}] in {name}"
