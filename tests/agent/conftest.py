"""A real broker with certificates on this machine, for every test of the agent that needs one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from hil.rack.broker import Broker, BrokerSpec
from hil.rack.pki import LocalCa
from tests.agent.publish.rack import Rack


@pytest.fixture
def rack(tmp_path: Path) -> Iterator[Rack]:
    """Mosquitto with mutual TLS on a free port, running."""
    ca = LocalCa(tmp_path / "pki")
    stand = Rack(tmp_path, ca, Broker(BrokerSpec(tmp_path / "broker", ca.server())))
    stand.broker.start()
    yield stand
    stand.close()
