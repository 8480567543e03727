"""Skips what cannot be made here, with the reason."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.failover.namespace import why_not
from hil.failover.net import SiteNet


@pytest.fixture(scope="session")
def namespaces() -> None:
    """Network namespaces can be made here; required where the virtual node is."""
    reason = why_not()
    if reason and os.environ.get("TOUCHLINE_REQUIRE_VIRTUAL"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def net(namespaces: None, tmp_path: Path) -> Iterator[SiteNet]:
    """The site's network, gone afterwards."""
    with SiteNet(tmp_path / "net") as made:
        yield made
