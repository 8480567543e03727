"""The metrics' server: it serves, and it stops at once."""

from __future__ import annotations

import statistics
import urllib.request

import pytest

from agent.parent.metrics import MetricsServer
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


def test_it_stops_without_waiting_for_its_next_look():
    """By itself it looks each half second: a quarter of one in the median, which one pause of the machine leaves."""
    spent_ns = []
    for _ in range(10):
        server = MetricsServer("127.0.0.1", 0, lambda: None)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30.0) as answer:
            assert answer.status == 200
        at_ns = monotonic_ns()
        server.close()
        spent_ns.append(monotonic_ns() - at_ns)
    assert statistics.median(spent_ns) / 1e9 < 0.15, spent_ns


def test_a_port_that_is_taken_is_told_of():
    server = MetricsServer("127.0.0.1", 0, lambda: None)
    try:
        with pytest.raises(ResourceError, match=r"metrics\.port"):
            MetricsServer("127.0.0.1", server.port, lambda: None)
    finally:
        server.close()
    MetricsServer("127.0.0.1", server.port, lambda: None).close()
