"""Networks for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.failover.actions.net import ThreeHosts, why_not


@pytest.fixture
def three() -> Iterator[ThreeHosts]:
    """Twins A and B and their client C on one switch."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with ThreeHosts() as net:
        yield net
