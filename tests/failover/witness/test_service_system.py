"""The real witness: a process on loopback, real certificates, real sockets, two nodes that want the same lease."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from failover.core.types import Beat, BeatHeard, Denied, Granted, Health, Role
from failover.wire.beats import Kind, split
from failover.wire.sockets import Address, send
from failover.witness.service import run_witness
from tests.failover.wire.conftest import credentials_of
from tests.failover.witness.rig import LEASE_MS, MS, PROGRAM, LocalNode, WitnessProcess, run_nodes, wait_for
from tests.ports import free_port
from touchline.config import RackConfig, parse
from touchline.errors import ConfigError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system


@pytest.fixture
def witness(site, tmp_path):
    with WitnessProcess(tmp_path, site.client("aggregator")) as running:
        yield running


@pytest.fixture
def nodes(party, witness):
    made = [
        LocalNode(party("node-a"), "node-b", witness.address),
        LocalNode(party("node-b"), "node-a", witness.address),
    ]
    yield made
    for node in made:
        node.wire.close()


def claims(*nodes: LocalNode) -> Callable[[], None]:
    def every() -> None:
        for node in nodes:
            known = max([event.epoch for _, event in node.events if isinstance(event, Granted | Denied)], default=0)
            node.wire.ask("claim", known, monotonic_ns())

    return every


def test_two_contend_one_has_it_and_the_other_gets_it_when_it_is_over(witness, nodes):
    a, b = nodes
    run_nodes([a], lambda: len(a.of(Granted)) >= 5, claims(a))
    run_nodes(nodes, lambda: len(b.of(Denied)) >= 5, claims(a, b))
    assert not b.of(Granted)
    assert {event.holder for event in b.of(Denied)} == {"node-a"}
    assert {event.epoch for event in a.of(Granted)} == {a.of(Granted)[0].epoch}
    run_nodes([b], lambda: b.of(Granted), claims(b), ms=20)
    a.take()
    last, first = a.of(Granted)[-1], b.of(Granted)[0]
    assert first.epoch > last.epoch
    until_ns = last.sent_ns + last.lease_ns
    heard_ns = next(at_ns for at_ns, event in b.events if isinstance(event, Granted))
    assert heard_ns >= until_ns
    assert first.sent_ns < heard_ns

    def given() -> list[tuple[str, str]]:
        return [(event["before"], event["holder"]) for event in witness.events() if event["holder"]]

    wait_for(lambda: given()[-1:] == [("node-a", "node-b")])
    assert given()[0] == ("", "node-a") and {before for before, _ in given()[1:]} == {"node-a"}
    trip = b.wire.status(monotonic_ns())["witness"]["round_trip_us"]
    assert 0 < trip["p50"] < LEASE_MS * 1_000


def reasons(witness: WitnessProcess) -> list[tuple[str, str]]:
    """Why the lease changed hands, each time and the next one."""
    return list(pairwise(event["why"] for event in witness.events()))


def test_a_release_is_taken_over_at_once_and_not_when_the_lease_has_run_out(witness, nodes):
    a, b = nodes
    run_nodes([a], lambda: a.of(Granted), claims(a))
    run_nodes(nodes, lambda: b.of(Denied), claims(a, b))
    a.wire.ask("release", a.of(Granted)[-1].epoch, monotonic_ns())
    run_nodes(nodes, lambda: b.of(Granted), claims(b))
    assert b.of(Granted)[0].epoch > a.of(Granted)[-1].epoch
    wait_for(lambda: {("given back", "claimed"), ("given back", "waited for")} & {*reasons(witness)})


def test_a_release_that_cannot_reach_the_witness_comes_through_the_twin(site, witness):
    """As at a node whose link to the rack is down: its beats tell the twin, whose claim shows it."""
    ports = free_port(), free_port()
    ways = [[[f"127.0.0.1:{ports[one]}", f"127.0.0.1:{ports[1 - one]}"]] for one in (0, 1)]
    a, b = (
        LocalNode(credentials_of(site.client(name)), twin, witness.address, way)
        for name, twin, way in (("node-a", "node-b", ways[0]), ("node-b", "node-a", ways[1]))
    )
    number = 0

    def beat() -> None:
        nonlocal number
        number += 1
        for node in (a, b):
            node.wire.send_beat(Beat(number, Role.ACTIVE, 1, Health()), monotonic_ns())

    try:
        run_nodes([a, b], lambda: a.of(BeatHeard) and b.of(BeatHeard), beat)
        run_nodes([a, b], lambda: a.of(Granted), claims(a))
        run_nodes([a, b], lambda: b.of(Denied), claims(a, b))
        epoch = a.of(Granted)[-1].epoch
        a.wire._to_witness.remote = ("127.0.0.1", 9)
        a.wire.ask("release", epoch, monotonic_ns())
        beat()
        run_nodes([b], lambda: b.of(BeatHeard)[-1].beat.given == epoch, lambda: None)
        run_nodes([b], lambda: b.of(Granted), claims(b))
        assert b.of(Granted)[0].epoch > epoch
        wait_for(lambda: ("given back to the twin", "claimed") in reasons(witness))
    finally:
        a.wire.close()
        b.wire.close()


def test_a_twin_that_lies_about_its_twins_lease_gets_nothing_and_is_named(witness, nodes):
    a, b = nodes
    run_nodes([a], lambda: a.of(Granted), claims(a))
    run_nodes(nodes, lambda: b.of(Denied), claims(a, b))
    epoch = a.of(Granted)[-1].epoch
    for tag in (bytes(16), b.wire.witness.give("goal-1", epoch)):  # none, and one of its own making
        b.wire._given = epoch, tag
        b.events.clear()
        run_nodes(nodes, lambda: b.of(Denied), claims(a, b))
        assert not b.of(Granted)
    wait_for(lambda: witness.events("unproven") and witness.status()["counters"]["unproven"] >= 2)
    assert "node-b" not in {event["holder"] for event in witness.events()}


def test_a_grant_that_crosses_a_release_is_not_ours(witness, nodes):
    a, _ = nodes
    run_nodes([a], lambda: a.of(Granted), claims(a))
    a.take()
    a.events.clear()
    for _ in range(5):
        a.wire.ask("claim", 1, monotonic_ns())
    a.wire.ask("release", 1, monotonic_ns())
    run_nodes([a], lambda: a.of(Denied), lambda: None)
    assert not a.of(Granted)
    assert a.counters()["stray_answer"] >= 5


def test_killed_and_back_it_waits_and_gives_a_higher_epoch(witness, nodes):
    a, b = nodes
    run_nodes(nodes, lambda: len(a.of(Granted)) >= 3, claims(a))
    epoch = a.of(Granted)[-1].epoch
    for life in range(2):
        witness.kill()
        a.take()
        last = a.of(Granted)[-1]
        a.events.clear()
        b.events.clear()
        witness.start()
        run_nodes(nodes, lambda: a.of(Granted) or b.of(Granted), claims(a, b))
        assert not (a.of(Granted) and b.of(Granted))
        granted = (a.of(Granted) or b.of(Granted))[0]
        assert granted.epoch > epoch, life
        assert granted.sent_ns > last.sent_ns + last.lease_ns
        assert {event.holder for event in a.of(Denied)} <= {"", "node-b"}
        waits = [event.wait_ns for event in a.of(Denied)]
        assert all(0 < wait_ns <= LEASE_MS * MS for wait_ns in waits), "in quarantine it is not to be taken for free"
        epoch = granted.epoch
        run_nodes(nodes, lambda: len(a.of(Granted)) >= 3, claims(a))
        epoch = a.of(Granted)[-1].epoch
    assert a.wire.status(monotonic_ns())["witness"]["restarts"] == 2


def test_recorded_datagrams_are_refused(witness, nodes, monkeypatch):
    a, b = nodes
    recorded: list[bytes] = []

    def recording(through: socket.socket, datagram: bytes, to: Address) -> bool:
        recorded.append(datagram)
        return send(through, datagram, to)

    monkeypatch.setattr("failover.wire.client.send", recording)
    run_nodes(nodes, lambda: len(a.of(Granted)) >= 5, claims(a), ms=40)
    asks = [datagram for datagram in recorded if split(datagram).kind is Kind.ASK]
    assert len(asks) >= 5
    a.wire.ask("release", a.of(Granted)[-1].epoch, monotonic_ns())
    run_nodes(nodes, lambda: b.of(Granted), claims(b))
    wait_for(lambda: any(event["holder"] == "node-b" for event in witness.events()))
    events = len(witness.events())
    host, port = witness.address.split(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in recorded * 2:
            stranger.sendto(datagram, (host, int(port)))
    run_nodes(nodes, lambda: _node(witness, "node-a").get("old", 0) >= 2 * len(asks), claims(b))
    assert len(b.of(Granted)) > 1
    after = [(event["holder"], event["why"]) for event in witness.events()[events:]]  # b's may run out: not our matter
    assert {holder for holder, _ in after} <= {"", "node-b"}, "a replayed claim had an effect"
    assert "given back" not in {why for _, why in after}, "a replayed release had an effect"
    assert _node(witness, "node-a")["restarts"] == 0
    witness.kill()
    witness.start()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        for datagram in asks:
            stranger.sendto(datagram, (host, int(port)))
    wait_for(lambda: witness.status()["counters"].get("unknown_channel", 0) >= 1)
    assert witness.status()["asks"] == 0


def _node(witness: WitnessProcess, name: str) -> dict[str, Any]:
    return next((node for node in witness.status()["nodes"] if node["node"] == name), {})


def test_a_node_of_another_ca_is_refused_on_both_sides(witness, other_site):
    stranger = LocalNode(credentials_of(other_site.client("node-a")), "node-b", witness.address)
    try:
        run_nodes(
            [stranger],
            lambda: witness.status()["counters"].get("certificate_signature", 0) >= 2,
            claims(stranger),
        )
        assert not stranger.wire.witness.connected
        assert not stranger.events
        assert witness.status()["nodes"] == []
    finally:
        stranger.wire.close()


def test_only_the_nodes_of_the_list_are_let_in(site, party, tmp_path):
    with WitnessProcess(tmp_path, site.client("aggregator"), 'pairs = { "goal-1" = ["node-a", "node-b"] }') as witness:
        a = LocalNode(party("node-a"), "node-b", witness.address)
        c = LocalNode(party("node-c"), "node-a", witness.address)
        try:
            run_nodes([a, c], lambda: a.of(Granted) and witness.status()["counters"].get("stranger"), claims(a, c))
            assert not c.events
        finally:
            a.wire.close()
            c.wire.close()


def test_a_node_that_speaks_for_another_is_not_answered(witness, party):
    """Its certificate says node-a; it asks in the name of node-b."""
    a = LocalNode(party("node-a"), "node-b", witness.address)
    try:
        run_nodes([a], lambda: a.of(Granted), claims(a))
        a.wire._node = "node-b"
        since_ns = monotonic_ns()
        run_nodes([a], lambda: witness.status()["counters"]["for_another"], claims(a))
        before = witness.status()["counters"]["for_another"]
        run_nodes([a], lambda: witness.status()["counters"]["for_another"] > before, claims(a))
        assert not [event for event in (*a.of(Granted), *a.of(Denied)) if event.sent_ns >= since_ns]
    finally:
        a.wire.close()


def test_a_flood_of_junk_does_not_cost_the_lease(witness, nodes):
    """A child sends as fast as it can from another address: junk, forged hellos, unknown channels."""
    a, b = nodes
    run_nodes([a], lambda: len(a.of(Granted)) >= 3, claims(a))
    flood = """
import os, socket, sys
from failover.wire.beats import Hello, Kind, pack, pack_hello
to = (sys.argv[1], int(sys.argv[2]))
out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
out.bind(("127.0.0.9", 0))
kinds = [b"junk" * 50, pack(Kind.ASK, 0, 77, 1, b"") + bytes(16)]
while True:
    for one in kinds + [pack_hello(Hello(os.urandom(16), bytes(16), "node-a", os.urandom(400)), 0)]:
        out.sendto(one, to)
"""
    host, port = witness.address.split(":")
    begin_ns = monotonic_ns()
    child = subprocess.Popen([sys.executable, "-c", flood, host, port])
    try:
        run_nodes([a], lambda: witness.status()["counters"].get("limited", 0) > 1_000, claims(a))
        a.events.clear()
        run_nodes(nodes, lambda: len(a.of(Granted)) >= 100, claims(a, b))
        assert not b.of(Granted), "a lease ran out in the flood"
        assert {event.epoch for event in a.of(Granted)} == {a.of(Granted)[0].epoch}
        unreadable = witness.status()["counters"].get("certificate_unreadable", 0)
        assert unreadable <= 10 + 20 * (monotonic_ns() - begin_ns) / 1e9, "a burst of 10, then 20 a second"
    finally:
        child.kill()
        child.wait()


def test_status_and_events_are_there_for_people(witness, nodes):
    a, _ = nodes
    said: list[dict[str, Any]] = []

    def held() -> bool:
        said.append(witness.status())
        return any(pair["holder"] for pair in said[-1]["pairs"])

    run_nodes([a], held, claims(a))  # who stops claiming has nothing left when the status is written
    status = said[-1]
    [pair] = status["pairs"]
    assert (status["state"], status["name"], status["address"]) == ("serving", "aggregator", witness.address)
    assert (pair["pair"], pair["holder"], pair["epoch"]) == ("goal-1", "node-a", status["last_epoch"])
    assert 0 < pair["left_ms"] <= LEASE_MS
    wait_for(witness.events)
    event = witness.events()[0]
    assert event["text"].startswith(f"pair goal-1: nobody -> node-a, epoch {pair['epoch']}")
    assert witness.events("first_start")
    assert witness.stop() == 0
    assert witness.status()["state"] == "stopped"


def test_systemd_is_told(site, party, tmp_path):
    heard = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    heard.bind(str(tmp_path / "notify"))
    heard.settimeout(60.0)
    environ = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    with heard, WitnessProcess(tmp_path, site.client("aggregator"), environ=environ) as witness:
        assert heard.recv(999).decode().splitlines() == ["READY=1", f"STATUS=witness at {witness.address}"]
        assert [heard.recv(999) for _ in range(3)] == [b"WATCHDOG=1"] * 3
        assert witness.stop() == 0
        while (last := heard.recv(999)) == b"WATCHDOG=1":
            pass
        assert last == b"STOPPING=1"


def failed(config) -> tuple[int, str]:
    done = subprocess.run([sys.executable, "-c", PROGRAM, str(config)], capture_output=True, timeout=60, check=False)
    return done.returncode, done.stderr.decode()


def test_what_keeps_it_from_serving_is_said_with_its_exit_code(witness, site, tmp_path):
    status, text = failed(witness.config)
    assert (status, "is another one running" in text) == (5, True), text
    moved = tmp_path / "other.toml"
    moved.write_text(witness.config.read_text().replace(witness.address, f"127.0.0.1:{free_port()}"))
    status, text = failed(moved)
    assert (status, "another witness uses" in text) == (5, True), text
    witness.stop()
    for name in ("epochs", "epochs.copy"):
        (tmp_path / name).write_text("damaged")
    status, text = failed(witness.config)
    assert (status, "first_epoch" in text) == (4, True), text


def test_without_its_table_it_does_not_start():
    text = '[mqtt]\nhost = "h"\nca_file = "a"\ncert_file = "b"\nkey_file = "c"\n[store]\npath = "m"\n'
    with pytest.raises(ConfigError, match=r"no \[witness\]"):
        run_witness(parse(text, RackConfig), print, print)
