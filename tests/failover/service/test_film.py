"""The match over a drill: measured by the agent's command on real files, or why not, in words."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from failover.drill_report import PICTURE_STEP_LIMIT_MS, Continuity
from failover.service.film import AROUND_NS, BUDGET_S, TIMEOUT_S, Cut, film, run_nicely
from tests.agent.record.helpers import PTP_NS
from tests.agent.record.test_continuity import PERIOD_NS, write
from touchline.config import NodeConfig, load

NODE = """
[node]
name = "node-a"
run_dir = "run"
[[camera]]
number = 1
source = "pattern"
calibration = "left.json"
[[camera]]
number = 2
source = "pattern"
calibration = "left.json"
[publish]
spool_dir = "spool"
[mqtt]
host = "rack"
ca_file = "a.pem"
cert_file = "a.pem"
key_file = "a.pem"
"""
RECORD = '[record]\nfolder = "recordings"\n'
MIRROR = 'mirror_listen = "127.0.0.1:1"\nmirror_peer = "127.0.0.1:2"\n'
CUT = Cut(PTP_NS + 70 * PERIOD_NS, PTP_NS + 120 * PERIOD_NS)
GOOD = {
    "camera": 1, "nodes": ["node-a", "node-b"], "switches": 1, "pictures": 181, "first_ptp_ns": CUT.from_ns - AROUND_NS,
    "last_ptp_ns": CUT.to_ns + AROUND_NS, "period_ms": 16.667, "step_max_ms": 16.8, "step_limit_ms": 33.367,
    "missing": 0, "good": True,
}  # fmt: skip


def config(folder: Path, text: str = RECORD + MIRROR, cameras: int = 2) -> NodeConfig:
    path = folder / "node.toml"
    path.write_text(
        (NODE if cameras == 2 else NODE.replace(NODE[NODE.rindex("[[cam") : NODE.index("[pub")], "")) + text
    )
    found = load(path, NodeConfig)
    for place in ("cam1", "cam2", "mirror/cam1", "mirror/cam2"):
        (folder / "recordings" / place).mkdir(parents=True, exist_ok=True)
    return found


class Command:
    """Answers in the command's place."""

    def __init__(self, *answers: dict[str, Any] | str | Exception, code: int = 0) -> None:
        self.answers, self.code, self.asked = list(answers), code, list[Sequence[str]]()
        self.timeouts_s: list[float] = []

    def __call__(self, words: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        self.asked.append(words)
        self.timeouts_s.append(timeout_s)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        out, err = ("", answer) if isinstance(answer, str) else (json.dumps(answer), "")
        return subprocess.CompletedProcess(words, self.code, out, err)


def test_each_camera_is_asked_and_the_worst_counts(tmp_path: Path) -> None:
    slow = {**GOOD, "camera": 2, "step_max_ms": 40.2, "step_limit_ms": 41.0, "missing": 1}
    command = Command(GOOD, slow, code=8)
    found = film(config(tmp_path), CUT, command)
    assert found == Continuity(40.2, 1, 41.0, 362, ("node-a", "node-b"), "", True)
    folder = tmp_path / "recordings"
    assert command.asked[1][:4] == ["recording", "continuity", str(folder / "cam2"), str(folder / "mirror" / "cam2")]
    begin, end = str(CUT.from_ns - AROUND_NS), str(CUT.to_ns + AROUND_NS)
    assert command.asked[0][4:] == ["--from-ptp-ns", begin, "--to-ptp-ns", end, "--json"]


@pytest.mark.parametrize(("text", "why"), [("", "no [record] is set"), (RECORD, "not copied to this node")])
def test_where_there_is_nothing_to_look_at_it_is_said_and_not_wanted(tmp_path: Path, text: str, why: str) -> None:
    found = film(config(tmp_path, text), CUT, Command())
    assert found.step_ms is None and why in found.why and not found.wanted
    assert found.limit_ms == PICTURE_STEP_LIMIT_MS


@pytest.mark.parametrize(
    ("answer", "code", "why"),
    [
        ('nice: cannot set niceness\n{"error": "the recordings hold no picture of that time"}', 4, "camera 1: the rec"),
        ("Traceback", 1, "ended with 1: Traceback"),
        ({"camera": 1}, 0, "ended with 0"),
        (subprocess.TimeoutExpired("touchline", 60.0), 0, "not read within 60 s"),
        (FileNotFoundError(2, "No such file or directory"), 0, "does not start"),
        ({**GOOD, "last_ptp_ns": CUT.to_ns - 1}, 0, "reach only from -1000 to 1000 ms after the cut"),
        ({**GOOD, "first_ptp_ns": CUT.from_ns + 1}, 0, "reach only from 0 to"),
        ({**GOOD, "nodes": ["node-a"]}, 0, "camera 1: no picture of the twin's is among them"),
    ],
)
def test_a_match_that_could_not_be_looked_at_was_wanted(tmp_path: Path, answer: Any, code: int, why: str) -> None:
    found = film(config(tmp_path), CUT, Command(answer, code=code))
    assert found.wanted and found.step_ms is None and why in found.why


def test_all_cameras_together_have_a_budget(tmp_path: Path) -> None:
    settings = config(tmp_path)
    times_ns = iter([0, 0, 100_000_000_000])
    command = Command(GOOD, GOOD)
    assert film(settings, CUT, command, lambda: next(times_ns)).pictures == 362
    assert command.timeouts_s == [TIMEOUT_S, BUDGET_S - 100]
    times_ns = iter([0, 0, 120_000_000_000])
    late = film(settings, CUT, Command(GOOD), lambda: next(times_ns))
    assert late.wanted and late.why == "camera 2: its turn did not come within 120 s for all cameras"


def test_a_camera_without_a_folder_is_named(tmp_path: Path) -> None:
    settings = config(tmp_path)
    (tmp_path / "recordings" / "mirror" / "cam2").rmdir()
    (tmp_path / "recordings" / "cam2").rmdir()
    found = film(settings, CUT, Command(GOOD))
    assert "camera 2: there is no recording in" in found.why


def test_it_runs_behind_everybody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Sequence[str]] = []
    monkeypatch.setattr("failover.service.film.subprocess.run", lambda argv, **_: ran.append(argv))
    monkeypatch.setattr("failover.service.film.shutil", SimpleNamespace(which=lambda name: f"/usr/bin/{name}"))
    run_nicely(["recording"], 1.0)
    assert ran[0][:3] == ["/usr/bin/nice", "-n", "19"] and ran[0][-1] == "recording"


def test_the_real_command_on_real_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    behind_nobody = SimpleNamespace(which=lambda name: None)  # as nice as it is, it waits for busy neighbours
    monkeypatch.setattr("failover.service.film.shutil", behind_nobody)
    settings = config(tmp_path, cameras=1)
    write(tmp_path / "recordings" / "cam1" / "a.mp4", range(0, 76))
    write(
        tmp_path / "recordings" / "mirror" / "cam1" / "b.mp4", range(0, 240), "node-b", active=False, ahead_ns=150_000
    )
    found = film(settings, CUT, run_nicely)
    assert found == Continuity(20.15, 0, 33.367, 150, ("node-a", "node-b"), "", True)
    write(tmp_path / "recordings" / "mirror" / "cam1" / "b.mp4", range(90, 240), "node-b", active=False)
    torn = film(settings, CUT, run_nicely)
    assert torn.step_ms == 15 * 20.0 and torn.missing == 14
