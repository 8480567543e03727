"""The node's end over real sockets on loopback: two paths, a path that goes away, what strangers send."""

from __future__ import annotations

import socket

import pytest

from failover.core.types import Beat, BeatHeard, Health, Role, TwinRestarted
from failover.wire.client import NodeWire
from tests.failover.wire.conftest import credentials_of, mqtt_of
from tests.failover.witness.rig import LocalNode, run_nodes
from tests.ports import free_port
from touchline.config.failover import FailoverSection
from touchline.errors import ConfigError, LinkError, ResourceError
from touchline.timeline import monotonic_ns

pytestmark = pytest.mark.system

WITNESS = "127.0.0.1:9"  # nobody there


class Twins:
    """Two wires on two paths."""

    def __init__(self, party) -> None:
        self.party = party
        self.ports = [(free_port(), free_port()) for _ in range(2)]
        self.numbers = [0, 0]
        self.ends = [self.open(0), self.open(1)]

    def open(self, which: int) -> LocalNode:
        names = ("node-a", "node-b")
        paths = [[f"127.0.0.1:{pair[which]}", f"127.0.0.1:{pair[1 - which]}"] for pair in self.ports]
        return LocalNode(self.party(names[which]), names[1 - which], WITNESS, paths)

    def beat(self) -> None:
        for which, end in enumerate(self.ends):
            self.numbers[which] += 1
            end.wire.send_beat(Beat(self.numbers[which], Role.ACTIVE, 1, Health(1)), monotonic_ns())

    def run(self, until) -> None:
        run_nodes(self.ends, until, self.beat, ms=5)

    def close(self) -> None:
        for end in self.ends:
            end.wire.close()


@pytest.fixture
def twins(party):
    made = Twins(party)
    yield made
    made.close()


def numbers(end: LocalNode) -> list[int]:
    return [event.beat.number for event in end.of(BeatHeard)]


def test_beats_are_heard_once_over_two_paths(twins):
    a, b = twins.ends
    begin_ns = monotonic_ns()
    twins.run(lambda: len(numbers(a)) >= 20 and len(numbers(b)) >= 20)
    for end in twins.ends:
        assert numbers(end) == list(range(numbers(end)[0], numbers(end)[0] + len(numbers(end))))
        assert not end.of(TwinRestarted)
        status = end.wire.status(monotonic_ns())["twin"]
        assert status["connected"]
        assert [path["lost"] for path in status["paths"]] == [0, 0]
        assert sum(path["copies"] for path in status["paths"]) >= 15
        assert all(path["heard_ms_ago"] < (monotonic_ns() - begin_ns) / 1e6 for path in status["paths"])


def test_a_dead_path_is_seen_and_the_other_carries(twins):
    a, b = twins.ends
    twins.run(lambda: len(numbers(a)) >= 5)
    b.wire._paths[1].remote = ("127.0.0.1", 9)
    sent = twins.numbers[1]  # over both; some of them may still be under way
    twins.run(lambda: numbers(a)[-1] >= sent + 20)
    after = a.wire.status(monotonic_ns())["twin"]["paths"]
    assert after[0]["heard"] > sent >= after[1]["heard"]
    assert after[1]["heard_ms_ago"] > after[0]["heard_ms_ago"]


def test_a_twin_that_comes_back_is_said_to_be_new_before_its_first_beat(twins):
    a, b = twins.ends
    twins.numbers[1] = 1_000
    twins.run(lambda: len(numbers(a)) >= 5)
    b.wire.close()
    twins.ends[1] = twins.open(1)
    twins.numbers[1] = 0
    a.events.clear()
    twins.run(lambda: sum(number < 1_000 for number in numbers(a)) >= 5)
    kinds = [type(event) for _, event in a.events]
    assert kinds.count(TwinRestarted) == 1
    before = sum(kind is BeatHeard for kind in kinds[: kinds.index(TwinRestarted)])  # were still under way
    assert all(number > 1_000 for number in numbers(a)[:before])
    assert all(number < 1_000 for number in numbers(a)[before:])


def test_strangers_are_counted_and_get_nothing(twins):
    a, _ = twins.ends
    twins.run(lambda: len(numbers(a)) >= 5)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.settimeout(0.2)
        for junk in (b"", b"junk", bytes(1300), b"TLF\2" + bytes(30)):
            stranger.sendto(junk, ("127.0.0.1", twins.ports[0][0]))
        twins.run(lambda: a.counters().get("version", 0) >= 1)
        counters = a.counters()
        assert (counters["short"], counters["long"], counters["version"]) == (2, 1, 1)
        with pytest.raises(TimeoutError):
            stranger.recv(99)


def test_nothing_is_sent_to_a_witness_that_was_never_met_but_hellos(party, twins):
    a, _ = twins.ends
    assert a.wire.ask("claim", 0, monotonic_ns()) is None
    status = a.wire.status(monotonic_ns())["witness"]
    assert (status["connected"], status["asked"], status["round_trip_us"]) == (False, 0, None)


def test_a_beat_over_a_link_that_is_not_there_is_counted_not_raised(party):
    """192.0.2.1 (RFC 5737) is no address of ours: binding goes ahead of the interface, sending cannot."""
    node = LocalNode(party("node-a"), "node-b", WITNESS, [[f"192.0.2.1:{free_port()}", "192.0.2.2:7400"]])
    try:
        node.wire.send_beat(Beat(1, Role.STANDBY, 0, Health()), monotonic_ns())
        assert node.wire.status(monotonic_ns())["twin"]["paths"][0]["unsent"] <= 1
    finally:
        node.wire.close()


def beat_all(ends: list[LocalNode]) -> None:
    now_ns = monotonic_ns()
    for end in ends:
        end.wire.send_beat(Beat(now_ns, Role.ACTIVE, 1, Health()), now_ns)


def test_it_works_over_ipv6(party):
    ports = free_port(), free_port()
    ends = [
        LocalNode(party(name), twin, "[::1]:9", [[f"[::1]:{ports[i]}", f"[::1]:{ports[1 - i]}"]])
        for i, (name, twin) in enumerate((("node-a", "node-b"), ("node-b", "node-a")))
    ]
    try:
        run_nodes(ends, lambda: all(len(numbers(end)) > 3 for end in ends), lambda: beat_all(ends))
    finally:
        for end in ends:
            end.wire.close()


# --- what cannot be opened ------------------------------------------------------------------------------------------


def section(**more) -> FailoverSection:
    values = {"pair": "p", "twin": "node-b", "paths": [[f"127.0.0.1:{free_port()}", "127.0.0.1:9"]], "witness": WITNESS}
    return FailoverSection(**{**values, **more})


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"twin": "node-a"}, "both named"),
        ({"twin": "aggregator"}, "twin and witness"),
        ({"paths": [["127.0.0.1:9999", "[::1]:9"]]}, "IPv4 and IPv6"),
    ],
)
def test_names_and_addresses_that_do_not_go_together(party, more, words):
    with pytest.raises(ConfigError, match=words):
        NodeWire(section(**more), party("node-a"), "node-a")


def test_a_name_that_is_not_found_may_be_found_at_the_next_start(party):
    paths = [["no-such-host.invalid:1", "127.0.0.1:9"]]
    with pytest.raises(LinkError, match="cannot be found"):
        NodeWire(section(paths=paths), party("node-a"), "node-a")


def test_the_certificate_must_be_the_nodes(site):
    with pytest.raises(ConfigError, match="common name"):
        NodeWire.open(section(), mqtt_of(site.client("node-q")), "node-a")


def test_a_port_that_is_taken(site):
    credentials = credentials_of(site.client("node-a6"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        taken = section(paths=[[f"127.0.0.1:{other.getsockname()[1]}", "127.0.0.1:9"]])
        with pytest.raises(ResourceError, match=r"paths\[0\]"):
            NodeWire(taken, credentials, "node-a6")
