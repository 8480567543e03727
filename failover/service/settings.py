"""From the configuration to the core's settings."""

from __future__ import annotations

from typing import Final

from failover.core.state import RENEWALS
from failover.core.types import NS_PER_MS, Settings
from touchline.config.failover import SWITCH_BUDGET_MS, FailoverSection

LEASE_MARGIN_MS: Final = 5.0  # how much earlier our lease ends for us: a turn of the loop and a record on its way
CLAIMS: Final = 20.0  # in the time of a lease, by a standby that wants it
MIN_CLAIM_MS: Final = 10.0
MIN_WITNESS_LOST_MS: Final = 70.0
MIN_PUBLISHER_SILENT_MS: Final = 250.0  # it speaks every 20 ms
HANDOVER_MS: Final = 150.0  # what a hand-over takes at most, once it begins


def settings_of(section: FailoverSection, node: str) -> Settings:
    """The core's settings. Renewals come with each beat and at least five times a lease, and no more often.

    Who knows its machines to pause for longer says so by ``silence_ms``; that is believed of the publisher too. What
    these two leave of the 800 ms (FOV-1) is patience.
    """
    publisher_silent_ms = max(MIN_PUBLISHER_SILENT_MS, section.silence_ms)
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
        witness_lost_ns=_ns(max(MIN_WITNESS_LOST_MS, 2.0 * renew_ms)),
        publisher_silent_ns=_ns(publisher_silent_ms),
        patience_ns=_ns(max(0.0, SWITCH_BUDGET_MS - HANDOVER_MS - publisher_silent_ms)),
        grace_ns=_ns(max(1_000.0, 3.0 * section.silence_ms)),
        fail_back=section.fail_back,
        fail_back_after_ns=_ns(section.fail_back_after_s * 1e3),
        preferred=section.preferred,
    )


def _ns(duration_ms: float) -> int:
    return round(duration_ms * NS_PER_MS)
