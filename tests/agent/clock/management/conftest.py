"""The fixture of real ptp4l processes, and a folder for sockets."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.clock.ptp_net import ptp_net

__all__ = ["ptp_net"]


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one, wherever the runner has its own: sockets lie there, and their paths have 107 octets at most."""
    with tempfile.TemporaryDirectory(prefix="tl-", dir="/tmp") as folder:
        yield Path(folder)
