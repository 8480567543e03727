"""Whether the match on disk went on over a drill (FOV-3, FOV-4): asked of ``touchline recording continuity``.

Recordings are the agent's, and this room does not import that one: it runs the command, on this node's own files and
its copy of the twin's, a process a camera, as nice as can be, all of them within ``BUDGET_S``.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from failover.drill_report import Continuity
from touchline.config import NodeConfig
from touchline.timeline import monotonic_ns

AROUND_NS: Final = 1_000_000_000  # before the cut and behind its end
TIMEOUT_S: Final = 60.0  # of one camera
BUDGET_S: Final = 120.0  # of all: the drill's unit has 600 s, and the report lies on the disk by then
MATCH_NODES: Final = 2  # the drilled node's own recorder goes through its cut: alone it would prove nothing
_READ: Final = (0, 8)  # exit codes with a document: it goes on, it does not


@dataclass(frozen=True, slots=True)
class Cut:
    """From when to when the links were off, PTP ns."""

    from_ns: int
    to_ns: int


Run = Callable[[Sequence[str], float], "subprocess.CompletedProcess[str]"]


def run_nicely(words: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
    """Run a command of ours at the lowest priority. Raises OSError or subprocess.TimeoutExpired."""
    nice = shutil.which("nice")
    before = [nice, "-n", "19"] if nice else []
    argv = [*before, sys.executable, "-m", "touchline.cli", *words]
    return subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )


def why_no_film(config: NodeConfig) -> str:
    """Why the match cannot be looked at on this node; empty when it can."""
    record = config.record
    if record is None:
        return "no [record] is set"
    return "" if record.mirror_peer else "the twin's recording is not copied to this node ([record] mirror_peer)"


def film(config: NodeConfig, cut: Cut, run: Run = run_nicely, now: Callable[[], int] = monotonic_ns) -> Continuity:
    """The worst of all cameras; where it cannot be measured, why. Never raises for what can be said."""
    record, why = config.record, why_no_film(config)
    if record is None or why:
        return Continuity(why=why)
    found: list[Mapping[str, Any]] = []
    until_ns = now() + round(BUDGET_S * 1e9)
    for camera in config.camera:
        folders = [record.folder / place / f"cam{camera.number}" for place in ("", "mirror")]
        told = _ask(run, folders, cut, (until_ns - now()) / 1e9)
        if isinstance(told, str):
            return Continuity(why=f"camera {camera.number}: {told}", wanted=True)
        if len(told["nodes"]) < MATCH_NODES:
            return Continuity(why=f"camera {camera.number}: no picture of the twin's is among them", wanted=True)
        found.append(told)
    limits = [float(one["step_limit_ms"]) for one in found]
    steps = [float(one["step_max_ms"]) for one in found]
    worst = max(range(len(found)), key=lambda at: steps[at] - limits[at])
    return Continuity(
        step_ms=steps[worst],
        missing=sum(int(one["missing"]) for one in found),
        limit_ms=limits[worst],
        pictures=sum(int(one["pictures"]) for one in found),
        nodes=tuple(dict.fromkeys(str(node) for one in found for node in one["nodes"])),
        wanted=True,
    )


def _ask(run: Run, folders: Sequence[Path], cut: Cut, left_s: float) -> Mapping[str, Any] | str:
    """What the command says of one camera, or why it says nothing that counts."""
    sources = [str(folder) for folder in folders if folder.is_dir()]
    if not sources:
        return f"there is no recording in {folders[0]}"
    begin, end = cut.from_ns - AROUND_NS, cut.to_ns + AROUND_NS
    words = ["recording", "continuity", *sources, "--from-ptp-ns", str(begin), "--to-ptp-ns", str(end), "--json"]
    if left_s <= 0:
        return f"its turn did not come within {BUDGET_S:g} s for all cameras"
    timeout_s = min(TIMEOUT_S, left_s)
    try:
        done = run(words, timeout_s)
    except subprocess.TimeoutExpired:
        return f"the recordings were not read within {timeout_s:.0f} s"
    except OSError as error:
        return f"touchline recording continuity does not start: {error.strerror}"
    return _judged(done, cut)


def _judged(done: subprocess.CompletedProcess[str], cut: Cut) -> Mapping[str, Any] | str:
    """The command's document, if it has one and that reaches over the cut."""
    try:
        if done.returncode not in _READ:
            return str(json.loads(done.stderr.strip().rpartition("\n")[2])["error"])
        told: Mapping[str, Any] = json.loads(done.stdout)
        first_ns, last_ns = int(told["first_ptp_ns"]), int(told["last_ptp_ns"])
    except (ValueError, KeyError, TypeError):
        return f"touchline recording continuity ended with {done.returncode}: {done.stderr.strip()[-200:]}"
    if first_ns > cut.from_ns or last_ns < cut.to_ns:
        from_ms, to_ms = (first_ns - cut.from_ns) / 1e6, (last_ns - cut.from_ns) / 1e6
        return f"the recordings here reach only from {from_ms:.0f} to {to_ms:.0f} ms after the cut"
    return told
