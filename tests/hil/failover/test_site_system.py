"""Real pairs under real faults: nothing lost, doubled or held twice. TOUCHLINE_CAMPAIGN=1 for all of it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hil.failover.campaign import Campaign, plan
from hil.failover.configs import SiteSettings
from hil.failover.faults import FAULTS
from hil.failover.judge import Expected, judge
from hil.failover.peer import FAULTS as PEER_FAULTS
from hil.failover.peer import PeerSite
from hil.failover.site import Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SAMPLE = (
    *("power-cut", "freeze", "hand-over", "apart", "witness-killed", "standby-power-cut"),
    *("clock-jump", "both-active"),  # these have a time of their own
)
CAMPAIGN = bool(os.environ.get("TOUCHLINE_CAMPAIGN"))


@pytest.fixture(scope="module")
def campaign(namespaces: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Campaign]:
    """One site for all faults, as in a real match: it is running when each comes."""
    folder = tmp_path_factory.mktemp("pair")
    with Site(folder / "site", SiteSettings(recording=True)) as site:
        site.start()
        yield Campaign(site, folder / "failed", print)


@pytest.mark.parametrize("name", SAMPLE)
def test_a_fault_loses_doubles_and_shares_nothing(campaign: Campaign, name: str):
    result = campaign.trial(FAULTS[name], seed=SAMPLE.index(name))
    assert result.good, result.text()
    assert result.verdict is not None
    if FAULTS[name].expected.takeover == "yes":
        assert result.verdict.took_over
        assert {"lease", "gate", "first frame at the rack", "address", "total"} <= set(result.verdict.phases)


def test_the_judge_would_have_seen_it_in_this_very_evidence(campaign: Campaign):
    evidence = campaign.idle(2.0)
    assert judge(evidence, Expected("no")).violations == ()
    lacking = replace(evidence, frames=[*evidence.frames[:20], *evidence.frames[21:]])
    assert "missing at the rack" in judge(lacking, Expected("no")).violations[0]
    twice = [*evidence.frames, replace(evidence.frames[7], node="node-x")]
    assert "from both nodes" in judge(replace(evidence, frames=twice), Expected("no")).violations[0]
    late = replace(evidence.leases[3], node="node-x", epoch=evidence.leases[3].epoch + 1)
    assert judge(replace(evidence, leases=[*evidence.leases, late]), Expected("no")).violations
    carried = [*evidence.carried, replace(evidence.carried[-1], node="node-x")]
    assert judge(replace(evidence, carried=carried), Expected("no")).violations


def test_the_film_of_both_nodes_goes_on_through_every_fault(campaign: Campaign):
    film = campaign.film()
    assert film.violations == ()
    assert film.pictures > 100
    assert [result.text() for result in campaign.results if result.film is None or result.film.violations] == []


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not CAMPAIGN, reason="200 faults, half an hour: TOUCHLINE_CAMPAIGN=1")
def test_two_hundred_faults(campaign: Campaign):
    campaign.run(plan(200, seed=1), seed=1)
    film = campaign.film()
    assert [result.text() for result in campaign.results if not result.good] == []
    assert film.violations == ()


@pytest.mark.skipif(shutil.which("keepalived", path="/usr/sbin:/usr/bin") is None, reason="apt install keepalived")
def test_keepalived_moves_its_address_on_the_same_network_and_splits_when_cut(namespaces: None, tmp_path: Path):
    with PeerSite(tmp_path) as peer:
        for seed, fault in enumerate(PEER_FAULTS):
            assert 0 < peer.trial(fault, seed).address_ms < 5_000
        assert peer.apart_ms(seed=1) > 500  # both have it: what a witness is for
