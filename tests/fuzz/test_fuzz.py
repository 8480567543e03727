"""CI's sample of the fuzz campaign: a few seconds, from the golden vectors."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]
TARGETS = ("record", "failover")


@pytest.mark.system
@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris has no wheel for this Python")
@pytest.mark.parametrize("target", TARGETS)
def test_a_few_seconds_of_coverage_guided_fuzzing_find_nothing(target, tmp_path):
    argv = [sys.executable, "-m", f"tests.fuzz.{target}", "--seconds", "5", "--corpus", str(tmp_path / "corpus")]
    done = subprocess.run(argv, cwd=REPO, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    executed = [line for line in done.stderr.splitlines() if "number_of_executed_units" in line]
    assert int(executed[0].split()[-1]) > 1000


def test_make_fuzz_runs_every_target():
    recipe = (REPO / "Makefile").read_text()
    here = {path.stem for path in Path(__file__).parent.glob("*.py")} - {"__init__", "run", "test_fuzz"}
    assert here == set(TARGETS)
    assert all(f"tests.fuzz.{target}" in recipe or f" {target}" in recipe for target in TARGETS)
