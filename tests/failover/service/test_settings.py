"""The configuration's milliseconds become the core's nanoseconds, and what does not fit together is refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from failover.service.settings import settings_of
from touchline.config.failover import FailoverSection, split_address

BASE = {
    "pair": "left",
    "twin": "pitch-a2",
    "paths": [["192.0.2.1:7400", "192.0.2.2:7400"], ["198.51.100.1:7400", "198.51.100.2:7400"]],
    "witness": "192.0.2.9:7410",
}


def section(**changes) -> FailoverSection:
    return FailoverSection.model_validate({**BASE, **changes})


def test_the_defaults():
    settings = settings_of(section(), "pitch-a1")
    assert (settings.node, settings.twin) == ("pitch-a1", "pitch-a2")
    assert (settings.beat_ns, settings.silence_ns, settings.lease_ns) == (20_000_000, 60_000_000, 100_000_000)
    assert (settings.renew_ns, settings.claim_ns) == (20_000_000, 10_000_000)
    assert settings.lease_ns >= 4 * settings.renew_ns + settings.lease_margin_ns


def test_the_asked_mode_renews_more_often_than_it_beats():
    settings = settings_of(section(beat_ms=200, silence_ms=600, lease_ms=600), "pitch-a1")
    assert settings.beat_ns == 200_000_000
    assert (settings.renew_ns, settings.claim_ns) == (120_000_000, 30_000_000)
    assert settings.witness_lost_ns == 240_000_000
    assert settings.grace_ns == 1_800_000_000


@pytest.mark.parametrize(
    ("silence_ms", "silent_ms", "patience_ms"), [(60, 250, 400), (300, 300, 350), (600, 600, 50), (700, 700, 0)]
)
def test_a_publisher_that_hangs_is_left_within_the_budget_by_a_patient_node_too(silence_ms, silent_ms, patience_ms):
    settings = settings_of(section(silence_ms=silence_ms), "pitch-a1")
    assert (settings.publisher_silent_ns, settings.patience_ns) == (silent_ms * 1_000_000, patience_ms * 1_000_000)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"silence_ms": 30}, "at least two beats"),
        ({"address": "192.0.2.7/24"}, "go together"),
        ({"address": "192.0.2.300/24", "address_interface": "eth0"}, "192.0.2.300"),
        ({"paths": [["192.0.2.1:7400"]]}, "each path is two addresses"),
        ({"paths": [["192.0.2.1", "192.0.2.2:7400"]]}, "is not an address"),
        ({"witness": "rack:99999"}, "is not an address"),
        ({"paths": []}, "at least 1"),
        ({"witnes": "x"}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_refused(changes, words):
    with pytest.raises(ValidationError, match=words):
        section(**changes)


def test_addresses():
    assert split_address("192.0.2.1:7400") == ("192.0.2.1", 7400)
    assert split_address("[2001:db8::1]:7400") == ("2001:db8::1", 7400)
    for wrong in ("", ":1", "a:", "a:0", "a:70000", "a:b", "[]:1"):
        with pytest.raises(ValueError, match="is not an address"):
            split_address(wrong)
