"""Networks for the tests of this room: see tests/failover/actions/net.py."""

from tests.failover.actions.conftest import three  # noqa: F401 - a fixture
