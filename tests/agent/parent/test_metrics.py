"""The metrics' server: it serves, and it stops at once."""

from __future__ import annotations

import urllib.request

import pytest

from agent.parent.metrics import MetricsServer
from touchline.errors import ResourceError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


def test_it_stops_without_waiting_for_its_next_look():
    """By itself it looks each half second; ten times it would take five seconds."""
    spent_ns = 0
    for _ in range(10):
        server = MetricsServer("127.0.0.1", 0, lambda: None)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=5.0) as answer:
            assert answer.status == 200
        at_ns = monotonic_ns()
        server.close()
        spent_ns += monotonic_ns() - at_ns
    assert spent_ns / 1e9 < 1.5


def test_a_port_that_is_taken_is_told_of():
    server = MetricsServer("127.0.0.1", 0, lambda: None)
    try:
        with pytest.raises(ResourceError, match=r"metrics\.port"):
            MetricsServer("127.0.0.1", server.port, lambda: None)
    finally:
        server.close()
    MetricsServer("127.0.0.1", server.port, lambda: None).close()
