"""From the configuration to the core's settings."""

from __future__ import annotations

from typing import Final

from failover.core.types import NS_PER_MS, Settings
from touchline.config.failover import FailoverSection

LEASE_MARGIN_MS: Final = 5.0  # how much earlier our lease ends for us: a turn of the loop and a record on its way
RENEWALS: Final = 5.0  # of a lease, at least
CLAIMS: Final = 20.0  # in the time of a lease, by a standby that wants it
MIN_CLAIM_MS: Final = 10.0
MIN_WITNESS_LOST_MS: Final = 70.0


def settings_of(section: FailoverSection, node: str) -> Settings:
    """The core's settings; renewals come at least every fifth of a lease, however slow the beats are.

    Nor do they come more often than beats: a pair that is told to take its time leaves its machines the rest of it.
    """
    renew_ms = min(section.beat_ms, section.lease_ms / RENEWALS)
    return Settings(
        node=node,
        twin=section.twin,
        start=section.start,
        without_witness=section.without_witness,
        beat_ns=_ns(section.beat_ms),
        silence_ns=_ns(section.silence_ms),
        phi=section.phi,
        lease_ns=_ns(section.lease_ms),
        lease_margin_ns=_ns(LEASE_MARGIN_MS),
        renew_ns=_ns(renew_ms),
        claim_ns=_ns(max(MIN_CLAIM_MS, section.lease_ms / CLAIMS)),
        witness_lost_ns=_ns(max(MIN_WITNESS_LOST_MS, 3.5 * renew_ms)),
        grace_ns=_ns(max(1_000.0, 3.0 * section.silence_ms)),
        fail_back=section.fail_back,
        fail_back_after_ns=_ns(section.fail_back_after_s * 1e3),
        preferred=section.preferred,
    )


def _ns(duration_ms: float) -> int:
    return round(duration_ms * NS_PER_MS)
