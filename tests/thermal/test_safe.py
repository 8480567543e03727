"""The program that makes the fan safe: with half the tree missing, without systemd, and in no time."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.test_house import REPO
from thermal import safe

SOURCE = REPO / "thermal" / "safe.py"


def a_fan(root: Path, number: int = 2, **files: str) -> Path:
    folder = root / "sys/class/hwmon" / f"hwmon{number}"
    folder.mkdir(parents=True)
    for name, text in {"name": "pwmfan", "pwm1": "20", "pwm1_enable": "0", **files}.items():
        if text:
            (folder / name).write_text(text + "\n")
    return folder


@pytest.fixture
def no_systemd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def run_safe(root: Path) -> int:
    return safe.main(["--sysfs-root", str(root)])


@pytest.mark.usefixtures("no_systemd")
def test_full_speed_and_on(tmp_path: Path):
    folder = a_fan(tmp_path)
    other = a_fan(tmp_path, 3, name="other")
    assert run_safe(tmp_path) == 0
    assert [(folder / name).read_text().strip() for name in ("pwm1", "pwm1_enable")] == ["255", "1"]
    assert (other / "pwm1").read_text() == "20\n"


@pytest.mark.usefixtures("no_systemd")
@pytest.mark.parametrize("missing", ["pwm1_enable", "pwm1", "name"])
def test_half_a_fan(tmp_path: Path, missing: str):
    folder = a_fan(tmp_path, 2, **{missing: ""})
    assert run_safe(tmp_path) == (1 if missing == "pwm1" else 0)
    if missing == "pwm1_enable":
        assert (folder / "pwm1").read_text() == "255\n"
    assert not (folder / missing).exists()


@pytest.mark.usefixtures("no_systemd")
def test_no_fan_and_no_tree_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    assert run_safe(tmp_path) == 0
    assert "no fan found" in capsys.readouterr().err


@pytest.mark.usefixtures("no_systemd")
def test_a_fan_that_cannot_be_driven_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = a_fan(tmp_path, pwm1="")
    (folder / "pwm1").mkdir()
    assert run_safe(tmp_path) == 1
    assert "NOT DRIVEN" in capsys.readouterr().err


@given(st.dictionaries(st.sampled_from(["name", "pwm1", "pwm1_enable", "x"]), st.binary(max_size=9), max_size=4))
def test_whatever_lies_there_nothing_is_raised(tmp_path_factory, files):
    root = tmp_path_factory.mktemp("any")
    folder = root / "sys/class/hwmon/hwmon0"
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    assert safe.fans(str(root)) in ([], [f"{root}/sys/class/hwmon/hwmon0"])
    for fan in safe.fans(str(root)):
        assert safe.full_speed(fan) == ("pwm1" in files)


def test_it_imports_the_standard_library_alone():
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        assert all(name.partition(".")[0] in sys.stdlib_module_names for name in names), names


SYSTEMCTL = """#!/bin/sh
test -e "$(dirname "$0")/$2"
"""


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in which a file named as a verb (``is-active``) makes systemctl say yes to it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "systemctl").write_text(SYSTEMCTL)
    (folder / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.usefixtures("no_systemd")
def test_a_fan_that_the_kernel_lowers_is_at_full_speed_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = a_fan(tmp_path)
    for _ in range(3):
        (folder / "pwm1").write_text("88\n")
        assert safe.keep(str(tmp_path))
        assert [(folder / name).read_text().strip() for name in ("pwm1", "pwm1_enable")] == ["255", "1"]
    assert safe.keep(str(tmp_path))
    assert not capsys.readouterr().err


def test_the_hold_leaves_the_fan_to_the_vendors_daemon_once_that_runs(tmp_path: Path, vendor: Path):
    folder = a_fan(tmp_path)
    assert safe.keep(str(tmp_path))
    (vendor / "is-active").touch()
    assert safe.keep(str(tmp_path))  # it has not written yet
    (folder / "pwm1").write_text("51\n")
    assert not safe.keep(str(tmp_path))
    assert (folder / "pwm1").read_text() == "51\n"


@pytest.mark.usefixtures("vendor")
def test_a_hold_ends_well_when_the_vendors_daemon_has_the_fan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    turns = iter([True, True, False])
    waited: list[float] = []
    monkeypatch.setattr(safe, "keep", lambda _root: next(turns))
    monkeypatch.setattr("select.select", lambda *words: waited.append(words[3]))
    assert safe.main(["--hold", "--sysfs-root", str(tmp_path)]) == 0
    assert waited == [safe.TURN_S] * 2


@pytest.mark.system
def test_it_starts_in_no_time_and_loads_nothing_of_ours(tmp_path: Path):
    folder = a_fan(tmp_path)
    argv = [sys.executable, "-X", "importtime", "-m", "thermal.safe", "--sysfs-root", str(tmp_path)]
    before = os.times()
    done = subprocess.run(
        argv, capture_output=True, text=True, cwd=REPO, env={**os.environ, "PATH": str(tmp_path)}, check=True
    )
    after = os.times()
    work_s = after.children_user + after.children_system - before.children_user - before.children_system
    assert (folder / "pwm1").read_text() == "255\n"
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert not loaded & {"touchline", "click", "pydantic", "numpy", "asyncio"}
    assert work_s < 2.0  # 0.1 s; a safe state that takes seconds is none, but how long it waits for a core is not ours
