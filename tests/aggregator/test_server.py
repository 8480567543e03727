"""The page's server: live frames over the WebSocket, JSON, metrics, and a port that is taken."""

import asyncio
import json
import socket
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from aggregator.rack import Rack
from aggregator.store import Group
from aggregator.web.server import PageServer
from tests.aggregator.match import T0_NS, Match, Node
from tests.aggregator.rig import rack_config
from touchline.errors import ResourceError

STEP_NS = 40_000_000


@pytest.fixture
def rack(tmp_path):
    made, node, match = Rack(rack_config(tmp_path)), Node(), Match()
    for f in range(10):
        ptp_ns = T0_NS + f * STEP_NS
        now_ns = 1 + f * STEP_NS
        made.message(node.topic, node.batch(match.seen(0, f, f / 25, ptp_ns)), now_ns, ptp_ns + 30_000_000, Group())
        made.tick(now_ns, ptp_ns, Group())
    health = {"state": "running", "fps": {"0": 25.0}, "spool": {"depth": 3}, "temps_c": {"tj": 61}, "dropped": {"x": 0}}
    made.message("tl/v1/node-a/health", json.dumps(health).encode(), now_ns, ptp_ns, Group())
    clock = {"state": "locked", "bound_ns": 48, "offset_ns": -3, "grandmaster": "001122.fffe.334455"}
    made.message("tl/v1/node-a/clock", json.dumps(clock).encode(), now_ns, ptp_ns, Group())
    made.message("tl/v1/node-a/event", b'{"severity":"error","code":"c1","text":"<script>"}', now_ns, ptp_ns, Group())
    made.message("tl/v1/node-a/det", b"rubbish", now_ns, ptp_ns, Group())
    return made


def serve(rack: Rack, tmp_path: Path, visit: Any, **web: Any) -> Any:
    """Run ``visit(session, url)`` against a server of ``rack`` at a fixed moment."""
    now_ns, ptp_ns = 9 * STEP_NS + 5_000_000, T0_NS + 9 * STEP_NS + 35_000_000

    async def main() -> Any:
        server = PageServer(
            rack_config(tmp_path, web=web).web,
            lambda: rack.live(now_ns, ptp_ns),
            lambda: rack.status(now_ns, ptp_ns),
            lambda: rack.stats(now_ns),
            lambda: {"clean": True},
        )
        url = await server.start()
        try:
            async with aiohttp.ClientSession() as session:
                return await visit(session, url)
        finally:
            await server.stop()

    return asyncio.run(main())


def test_the_websocket_says_hello_and_shows_the_players(rack, tmp_path):
    async def visit(session, url):
        async with session.ws_connect(url + "ws") as ws:
            said = [json.loads((await ws.receive(timeout=60)).data) for _ in range(2)]
            live: list[dict[str, Any]] = []
            while len(live) < 2:
                one = json.loads((await ws.receive(timeout=60)).data)
                live += [one] if one["type"] == "live" else []  # the status comes twice a second, between any two
            return [*said, *live]

    hello, status, *live = serve(rack, tmp_path, visit, title="Final", push_hz=60.0)
    assert (hello["title"], hello["length_m"], hello["width_m"]) == ("Final", 105.0, 68.0)
    assert status["type"] == "status"
    truth, _ = Match().state(9 / 25)
    for frame in live:
        assert frame["type"] == "live" and frame["state"] == "live"
        assert len(frame["players"]) > 10 and frame["unaligned"] == frame["left_out"] == []
        for number, x, y, _vx, _vy, _predicted, _kind, unaligned, cameras, player in frame["players"]:
            assert number > 0 and unaligned == 0 and cameras == [0] and player == ""
            assert min(abs(truth - (x, y)).sum(axis=1)) < 0.02


def test_status_has_the_node_its_clock_and_the_latency(rack, tmp_path):
    async def visit(session, url):
        async with session.get(url + "api/status") as answer:
            return await answer.json()

    status = serve(rack, tmp_path, visit)
    (node,) = status["nodes"]
    assert (node["state"], node["spool_depth"], node["temps_c"]["tj"]) == ("running", 3, 61.0)
    assert (node["clock"]["state"], node["clock"]["bound_ns"]) == ("locked", 48)
    assert (node["clock"]["aligned"], node["clock"]["why"], node["unflagged_records"]) == (True, "", 0)
    assert status["alignment"] == {
        "spread_ns": None, "grandmaster": "001122.fffe.334455", "aligned": ["node-a"], "unaligned": [],
    }  # fmt: skip
    assert status["stats"]["latency_ms"]["p50"] == 30.0
    assert status["stats"]["messages"]["refused"] == {"truncated": 1}
    assert status["cameras"]["0"] == {"owner": "node-a", "epoch": 1, "intervals": 1}
    assert {"node", "owner", "c1", "refused"} <= {e["code"] for e in status["events"]}
    assert status["events"][-1]["text"].startswith("message of node-a refused: truncated")


def test_stats_audit_metrics_health_and_static_files(rack, tmp_path):
    async def visit(session, url):
        found = {}
        for path in ("", "static/app.js", "static/pitch.js", "static/panel.js", "static/style.css", "static/icon.svg",
                     "api/stats?audit=1", "metrics", "healthz", "static/../server.py", "nothing"):  # fmt: skip
            async with session.get(url + path) as answer:
                found[path] = answer.status, await answer.text(), answer.headers
        return found

    found = serve(rack, tmp_path, visit)
    assert "default-src 'none'" in found[""][2]["Content-Security-Policy"]
    for path in ("", "static/app.js", "static/pitch.js", "static/panel.js", "static/style.css", "static/icon.svg"):
        assert found[path][0] == 200
        assert "//" not in found[path][1].replace("http://www.w3.org", "").replace("://${", "") or path.endswith(".js")
    assert json.loads(found["api/stats?audit=1"][1])["audit"] == {"clean": True}
    assert 'touchline_rack_messages_refused_total{reason="truncated"} 1.0' in found["metrics"][1]
    assert "touchline_rack_records_unique_total" in found["metrics"][1]
    assert 'touchline_rack_node_aligned{node="node-a"} 1.0' in found["metrics"][1]
    assert 'touchline_rack_node_clock_offset_ns{node="node-a"} -3.0' in found["metrics"][1]
    assert "touchline_rack_alignment_spread_ns" not in found["metrics"][1]  # one node has none
    assert found["healthz"][0] == 503  # no broker here
    assert found["nothing"][0] == found["static/../server.py"][0] == 404


def test_another_sites_page_may_not_listen(rack, tmp_path):
    async def visit(session, url):
        async with session.get(
            url + "ws",
            headers={
                "Origin": "http://elsewhere.example",
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
            },
        ) as answer:
            return answer.status

    assert serve(rack, tmp_path, visit) == 403


def test_a_port_in_use_is_named(rack, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ResourceError, match=f"port {port} on 127.0.0.1 is in use"):
            serve(rack, tmp_path, None, port=port)


def test_what_nodes_say_is_bounded_and_typed(tmp_path):
    rack = Rack(rack_config(tmp_path))
    wild = [
        {
            "state": 7,
            "fps": "fast",
            "spool": [1],
            "temps_c": {"a": "hot", "b": 10**400},
            "epoch": True,
            "reason": "x" * 999,
        },
        {
            "state": "s" * 999,
            "fps": {str(i): i for i in range(999)},
            "spool": {"depth": None},
            "dropped": {"a": 1, "b": 2},
        },
    ]
    for value in wild:
        rack.message("tl/v1/n/health", json.dumps(value).encode(), 1, 1, Group())
    for value in ({"ptp_ns": -5}, {"ptp_ns": 2**70, "text": 5}, {"severity": "loud", "code": "c" * 999}):
        rack.message("tl/v1/n/event", json.dumps(value).encode(), 1, 1, Group())
    status = rack.status(2, 2)
    (node,) = status["nodes"]
    assert len(node["state"]) == 24 and len(node["fps"]) == 32 and node["dropped"] == 3
    assert len(json.dumps(status)) < 20_000
