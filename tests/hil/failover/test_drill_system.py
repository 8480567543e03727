"""The drill on a whole site: the active node's links off for a second, the switch measured, everything restored."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hil.failover.configs import SiteSettings, other
from hil.failover.net import DIRECT, UPLINK
from hil.failover.programs import wait_for
from hil.failover.site import Site, SiteNode

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

LINKS = {"drill_interfaces": [UPLINK, DIRECT]}


def drill(site: Site, node: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command on a node."""
    one = site.nodes[node]  # type: ignore[index]
    words = [sys.executable, "-m", "touchline.cli", "failover", "drill", "--config", str(one.folder / "node.toml")]
    inside = site.net.spaces[node].inside()
    return subprocess.run([*inside, *words, *more], capture_output=True, text=True, timeout=300.0, check=False)


def said(node: SiteNode) -> dict[str, Any]:
    """What the service says, as soon as it does."""
    found: list[dict[str, Any]] = []

    def answered() -> bool:
        found.append(node.said())
        return bool(found[-1])

    wait_for(answered, 60.0, f"the service of {node.name} to answer")
    return found[-1]


def test_a_drill_switches_measures_restores_and_keeps_a_picture(namespaces: None, tmp_path: Path):
    with Site(tmp_path / "site", SiteSettings(failover=LINKS, recording=True)) as site:
        site.start()
        first = site.settle()
        second = other(first)
        refused = drill(site, second)
        assert refused.returncode == 4 and "this node is standby" in refused.stderr
        skipped = drill(site, second, "--weekly")
        assert skipped.returncode == 0 and "this node is standby" in skipped.stdout
        before = said(site.nodes[first])["epoch"]
        done = drill(site, first, "--json")
        assert done.returncode == 0, done.stdout + done.stderr
        report = json.loads(done.stdout)
        marks = {(mark["lane"], mark["kind"]) for mark in report["marks"]}
        assert marks >= {
            ("node", "cut"), ("node", "fenced"), ("node", "restored"), ("node", "heard again"),
            ("twin", "suspicion"), ("twin", "gate"), ("witness", "lease"),
        }, marks  # fmt: skip
        figures = report["figures"]
        assert 1_000 <= figures["was_cut_ms"] < 1_500
        assert figures["overlap_ms"] == 0
        assert report["ok"], (report["checks"], report["recording"])
        assert ("recording", "recorder") in marks
        checks = {check["check"]: check for check in report["checks"]}
        period_ms = site.settings.period_ns / 1e6
        step = checks["largest step of picture time"]
        assert period_ms - 1 <= step["value"] <= step["limit"] == period_ms + 1
        assert checks["pictures missing"]["value"] == 0
        assert report["recording"]["pictures"] >= 2_900 / period_ms and len(report["recording"]["nodes"]) == 2
        assert Path(report["report"]).with_suffix(".svg").read_text().startswith("<svg")
        assert site.settle() == second
        found = said(site.nodes[second])
        assert (found["epoch"], found["last_switch"]["trigger"]) == (before + 1, "silence")
        steps = {one["step"]: one for one in found["last_switch"]["steps"]}
        assert (steps["recorder"]["status"], steps["recorder"]["code"]) == ("ok", 0), steps
        kinds = [entry["kind"] for entry in site.nodes[first].history()]
        assert kinds.count("drill") == 1
