"""From hello to channel: what works at once, what no stranger can disturb, what no recording can do."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from failover.core.types import Beat
from failover.wire.beats import Hello, Kind, pack, pack_hello, pack_lost, split
from failover.wire.peer import MAX_CANDIDATES, MAX_RETIRED, SILENT_NS, Peer
from tests.failover.wire.conftest import credentials_of
from tests.failover.wire.link import MS, Node, Pair
from touchline.errors import ConfigError


@pytest.fixture
def pair(party):
    return Pair(lambda: party("node-a"), lambda: party("node-b"))


@pytest.fixture
def joined(pair):
    pair.turn(2)
    pair.tape.clear()
    return pair


def numbers(node: Node) -> list[int]:
    return [message.number for message in node.heard if isinstance(message, Beat)]


# --- it works -------------------------------------------------------------------------------------------------------


def test_two_strangers_talk_after_one_exchange(pair):
    pair.turn()
    assert pair.a.peer.connected and pair.b.peer.connected
    assert not pair.a.restarted and not pair.b.restarted
    pair.turn(10)
    assert numbers(pair.a) == numbers(pair.b) == list(range(2, 12))


def test_one_alone_can_start_it(pair):
    """The witness says nothing by itself."""
    pair.a.send(pair.now_ns)
    assert pair.settle() <= 5
    assert pair.a.peer.connected and pair.b.peer.connected


def test_once_both_are_sure_no_hello_is_sent(joined):
    joined.turn(20)
    kinds = {split(datagram).kind for _, _, datagram in joined.tape}
    assert kinds == {Kind.BEAT}


def test_each_message_is_heard_once_and_the_copy_is_counted(joined):
    joined.a.heard.clear()
    before = [path.heard for path in joined.a.peer.paths]
    joined.turn(5)
    assert len(joined.a.heard) == 5
    first, second = joined.a.peer.paths
    assert [first.heard - before[0], second.heard - before[1]] == [5, 5]
    assert second.copies >= 5 and first.copies == 0
    assert (first.lost, second.lost, first.old, second.old) == (0, 0, 0, 0)


def test_a_path_that_loses_is_seen_and_the_other_carries(joined):
    joined.a.heard.clear()
    for turn in range(10):
        joined.now_ns += 20 * MS
        joined.b.send(joined.now_ns)
        for to, path, datagram in joined.collect():
            if path == 0 or turn % 3 == 0:
                to.take(path, datagram, joined.now_ns)
    assert len(joined.a.heard) == 10
    assert joined.a.peer.paths[0].lost == 0
    assert joined.a.peer.paths[1].lost == 6
    assert joined.a.peer.paths[1].last_heard_ns == joined.now_ns


def test_what_is_overtaken_is_not_delivered(joined):
    joined.b.send(joined.now_ns)
    joined.b.send(joined.now_ns)
    first, second = [one for one in joined.collect() if one[1] == 0]
    joined.a.heard.clear()
    for to, path, datagram in (second, first):
        to.take(path, datagram, joined.now_ns)
    assert [message.number for message in joined.a.heard] == [joined.b.sent]
    assert joined.a.peer.paths[0].old == 1


# --- restarts -------------------------------------------------------------------------------------------------------


def test_a_restarted_twin_is_known_again_within_a_turn_and_said_to_be_new(joined):
    session = joined.a.peer.session
    joined.b.start()
    joined.turn()
    assert joined.a.restarted == 1
    assert joined.a.peer.session != session
    assert joined.a.peer.restarts == 1
    joined.a.heard.clear()
    joined.turn(3)
    assert len(joined.a.heard) == len(joined.b.heard) == 3


def test_a_restarted_witness_learns_of_us_though_it_says_nothing_by_itself(joined):
    """What comes on a channel that it does not know is answered with "lost"; that brings a hello."""
    joined.b.start()
    for _ in range(4):
        joined.now_ns += 20 * MS
        joined.a.send(joined.now_ns)
        joined.settle()
    assert joined.a.peer.connected and joined.b.peer.connected
    assert joined.a.restarted == 1
    assert joined.a.peer.counters["lost"] >= 1
    assert joined.b.endpoint.counters["unknown_channel"] >= 1
    assert joined.b.heard


def test_both_restart_at_once(joined):
    joined.a.start()
    joined.b.start()
    joined.turn(3)
    assert joined.a.heard and joined.b.heard
    assert not joined.a.restarted


def test_a_peer_silent_for_long_is_greeted(joined):
    def silent(ns: int) -> bool:
        joined.now_ns += ns
        joined.a.send(joined.now_ns)
        return Kind.HELLO in {split(datagram).kind for _, _, datagram in joined.collect()}

    assert not silent(SILENT_NS - MS)
    assert silent(2 * MS)
    assert not silent(20 * MS)
    assert silent(SILENT_NS)


# --- what nobody can do ---------------------------------------------------------------------------------------------


def test_replayed_datagrams_are_never_delivered(joined):
    joined.turn(3)
    recorded = list(joined.tape)
    heard = list(joined.a.heard), list(joined.b.heard)
    for _ in range(2):
        for to, path, datagram in recorded:
            for where in (path, 1 - path):
                to.take(where, datagram, joined.now_ns)
        joined.settle()
    assert (joined.a.heard, joined.b.heard) == heard
    assert joined.a.peer.paths[0].old >= 6


def test_a_replay_makes_no_dead_path_look_alive(joined):
    joined.turn()
    recorded, at_ns = list(joined.tape), joined.now_ns
    joined.now_ns += 1000 * MS
    for to, path, datagram in recorded:
        to.take(path, datagram, joined.now_ns)
    assert {path.last_heard_ns for path in joined.a.peer.paths} == {at_ns}
    assert joined.a.peer.last_heard_ns == at_ns


def test_all_of_an_earlier_life_can_be_replayed_without_effect(pair):
    pair.turn(5)
    recorded = list(pair.tape)
    pair.b.start()
    pair.turn(3)
    session, heard = pair.a.peer.session, list(pair.a.heard)
    for _ in range(3):
        for to, path, datagram in recorded:
            to.take(path, datagram, pair.now_ns)
        pair.settle()
    assert pair.a.peer.session == session, "a recording brought a dead session back"
    assert pair.a.heard == heard
    pair.turn(2)
    assert len(pair.a.heard) == len(heard) + 2


def test_a_life_that_was_never_heard_cannot_be_brought_in_later(joined):
    """Everything of b's second life is caught on its way and played when its third is at work."""
    joined.b.start()
    caught = []
    for _ in range(5):
        joined.now_ns += 20 * MS
        joined.b.send(joined.now_ns)
        caught += [one for one in joined.collect() if one[0] is joined.a]
        joined.a.send(joined.now_ns)
        joined.settle(lossless=False)
    joined.b.start()
    joined.turn(3)
    session, heard = joined.a.peer.session, list(joined.a.heard)
    for _ in range(3):
        for to, path, datagram in caught:
            to.take(path, datagram, joined.now_ns)
        joined.settle()
    assert joined.a.peer.session == session
    assert joined.a.heard == heard
    joined.turn(2)
    assert len(joined.a.heard) == len(heard) + 2


def test_an_older_process_that_wakes_up_goes_on_with_its_numbers(joined):
    """A twin was stopped, another took its place, then the first woke up: what it had said before stays said."""
    joined.turn(3)
    recorded = [one for one in joined.tape if one[0] is joined.a]
    older = joined.b
    joined.b = type(older)(older.credentials, older.twin)
    joined.b.sent = older.sent
    joined.turn(2)
    assert joined.a.restarted == 1
    joined.b = older
    joined.turn(8)
    assert joined.a.restarted == 2
    heard = list(joined.a.heard)
    for to, path, datagram in recorded:
        to.take(path, datagram, joined.now_ns)
    assert joined.a.heard == heard


def test_forged_hellos_do_not_disturb(joined, party):
    """Anybody can say hello with the twin's certificate, which is no secret."""
    session = joined.a.peer.session
    der = party("node-b").der
    for number in range(1, 40):
        hello = Hello(number.to_bytes(16, "little"), bytes(16), "node-b", der)
        joined.a.take(0, pack_hello(hello, 0), joined.now_ns, host="10.9.9.9")
    joined.collect()
    assert len(joined.a.peer._candidates) <= MAX_CANDIDATES
    assert len(joined.a.endpoint._index) <= MAX_CANDIDATES + 1
    assert joined.a.endpoint.counters["limited"] > 0
    joined.a.heard.clear()
    joined.turn(3)
    assert joined.a.peer.session == session
    assert len(joined.a.heard) == 3


def test_a_true_restart_gets_through_between_forged_hellos(joined, party):
    der = party("node-b").der
    joined.b.start()
    for turn in range(10):
        for number in range(5):
            session = (100 + 5 * turn + number).to_bytes(16, "little")
            joined.a.take(0, pack_hello(Hello(session, bytes(16), "node-b", der), 0), joined.now_ns, host="10.9.9.9")
        joined.collect()
        joined.turn()
    assert joined.a.restarted == 1
    assert joined.b.heard


def test_a_forged_lost_brings_a_hello_now_and_then_and_nothing_else(joined):
    channel = joined.a.peer._present.keys.channel
    hellos = 0
    for _ in range(50):
        joined.now_ns += MS
        joined.a.take(0, pack_lost(channel, 0), joined.now_ns)
        hellos += joined.a.peer.hello_due(joined.now_ns)
    assert hellos == 1
    assert not joined.a.out
    assert joined.a.peer.connected


def test_tampered_and_unknown_datagrams_are_counted(joined):
    joined.b.send(joined.now_ns)
    _, path, datagram = joined.collect()[0]
    joined.a.take(path, datagram[:-1] + bytes([datagram[-1] ^ 1]), joined.now_ns)
    assert joined.a.peer.counters["bad_tag"] == 1
    joined.a.take(path, pack(Kind.BEAT, 0, 12345, 1, b"") + bytes(16), joined.now_ns)
    assert joined.a.endpoint.counters["unknown_channel"] == 1
    assert [split(reply).kind for _, reply in joined.a.out] == [Kind.LOST]
    assert len(joined.a.out[0][1]) < len(datagram)
    joined.a.take(path, b"junk", joined.now_ns)
    assert joined.a.endpoint.counters["short"] == 1


def test_who_has_another_ca_or_name_stays_outside(joined, other_site, site):
    for credentials, kind in (
        (credentials_of(other_site.client("node-b")), "certificate_signature"),
        (credentials_of(site.client("node-z")), "certificate_name"),
    ):
        hello = Hello(b"x" * 16, bytes(16), "node-b", credentials.der)
        joined.a.take(0, pack_hello(hello, 0), joined.now_ns)
        assert joined.a.endpoint.counters[kind] == 1
    joined.a.take(0, pack_hello(Hello(b"x" * 16, bytes(16), "node-z", b"DER"), 0), joined.now_ns)
    assert joined.a.endpoint.counters["stranger"] == 1
    assert not joined.a.out


def test_one_that_has_the_certificate_and_not_the_key_gets_nowhere(joined, party, site):
    """It says hello as node-b and answers with the key of node-y, which is of our CA too."""
    y = credentials_of(site.client("node-y"))
    y.name, y.der = "node-b", party("node-b").der
    thief = Pair(lambda: y, lambda: party("node-a"))
    for _ in range(5):
        thief.turn()
    assert not thief.b.peer.connected
    assert thief.b.peer.counters["bad_tag"] + thief.b.endpoint.counters["unknown_channel"] > 0


def test_new_certificates_are_checked_at_a_bounded_rate(joined, site, party):
    der = bytearray(party("node-b").der)
    for number in range(30):
        der[-1] = party("node-b").der[-1] ^ number + 1
        hello = Hello(b"x" * 16, bytes(16), "node-b", bytes(der))
        joined.a.take(0, pack_hello(hello, 0), joined.now_ns, host=f"10.9.9.{number}")
    assert joined.a.endpoint.counters["certificate_limited"] == 21  # one was used by the true one
    assert joined.a.endpoint.counters["certificate_signature"] == 9


def test_a_peer_with_our_own_name_is_a_mistake(party):
    with pytest.raises(ConfigError, match='both named "node-a"'):
        Peer(party("node-a"), "node-a", 1, {})


def test_what_is_remembered_of_old_sessions_is_bounded(joined):
    for _ in range(MAX_RETIRED + 5):
        joined.b.start()
        joined.turn(2)
    assert len(joined.a.peer._retired) == MAX_RETIRED
    assert joined.a.peer.restarts == MAX_RETIRED + 5
    assert set(joined.a.endpoint._index) == {joined.a.peer._present.keys.channel} | {
        candidate.keys.channel for candidate in joined.a.peer._candidates.values()
    }


# --- whatever the network does --------------------------------------------------------------------------------------


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.sampled_from("ab")),
        st.tuples(st.just("restart"), st.sampled_from("ab")),
        st.tuples(st.just("wait"), st.integers(1, 600)),
        st.tuples(st.just("deliver"), st.integers(0, 30)),
        st.tuples(st.just("drop"), st.integers(0, 30)),
        st.tuples(st.just("replay"), st.integers(0, 400)),
        st.tuples(st.just("corrupt"), st.integers(0, 400)),
    ),
    max_size=120,
)


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_only_what_was_sent_is_heard_once_and_in_order_and_in_the_end_it_works(party, steps):
    """Loss, delay, reordering, replays of anything ever sent, corruption, restarts of both, in any order."""
    pair = Pair(lambda: party("node-a"), lambda: party("node-b"))
    under_way: list[tuple[Node, int, bytes]] = []
    for what, value in steps:
        under_way += pair.collect()
        if what == "send":
            (pair.a if value == "a" else pair.b).send(pair.now_ns)
        elif what == "restart":
            (pair.a if value == "a" else pair.b).start()
        elif what == "wait":
            pair.now_ns += value * MS
        elif what in {"deliver", "drop"} and under_way:
            to, path, datagram = under_way.pop(value % len(under_way))
            if what == "deliver":
                to.take(path, datagram, pair.now_ns)
        elif what in {"replay", "corrupt"} and pair.tape:
            to, path, datagram = pair.tape[value % len(pair.tape)]
            if what == "corrupt":
                datagram = datagram[:-1] + bytes([datagram[-1] ^ 1])
            to.take(path, datagram, pair.now_ns)
        for node, twin in ((pair.a, pair.b), (pair.b, pair.a)):
            assert all(1 <= number <= twin.sent for number in numbers(node))
            assert numbers(node) == sorted(set(numbers(node)))
    pair.now_ns += 1_000 * MS
    pair.collect()
    pair.turn(10)
    pair.a.heard.clear()
    pair.b.heard.clear()
    pair.turn(4)
    assert numbers(pair.a) == list(range(pair.b.sent - 3, pair.b.sent + 1))
    assert numbers(pair.b) == list(range(pair.a.sent - 3, pair.a.sent + 1))
