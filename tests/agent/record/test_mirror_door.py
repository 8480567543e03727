"""The mirror's door: strangers who sit there, trickle or only look; and the twin's words about older streams."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.mirror import channel as channel_module
from agent.record.mirror import knock as knock_module
from agent.record.mirror import receiver as receiver_module
from agent.record.mirror.backlog import Backlog
from agent.record.mirror.channel import Channel
from agent.record.mirror.door import GUESTS, OF_ONE_ADDRESS, who_leaves
from agent.record.mirror.knock import knock
from agent.record.mirror.sender import MirrorSender
from agent.record.mirror.wire import Have, Kind, Message, WireError, hello
from hil.rack.pki import LocalCa
from tests.agent.record.helpers import HEAD, fragment, start, wait_for
from tests.agent.record.test_mirror import Twins, fill, identity
from touchline.errors import LinkError
from touchline.timeline import monotonic_ns, sleep_until

OLD, NEW = "01" * 16, "02" * 16


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    made = Twins(tmp_path)
    yield made
    for end in made.ends:
        end.close()


# --- who waits -------------------------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=80))
def test_few_wait_few_of_one_address_and_a_newcomer_always_does(arrivals):
    waiting: list[str] = []
    for newcomer in arrivals:
        leaves = who_leaves(waiting, newcomer)
        if leaves is not None:
            waiting.pop(leaves)
        waiting.append(newcomer)
        assert len(waiting) <= GUESTS and max(Counter(waiting).values()) <= OF_ONE_ADDRESS


@given(st.lists(st.sampled_from("abc"), max_size=80))
def test_three_strangers_never_push_the_twin_out(arrivals):
    waiting = ["twin"]
    for newcomer in arrivals:
        leaves = who_leaves(waiting, newcomer)
        if leaves is not None:
            assert waiting.pop(leaves) != "twin"
        waiting.append(newcomer)


def sit(stack: ExitStack, port: int, count: int, first: int = 2) -> list[socket.socket]:
    """Strangers of several addresses who say nothing."""
    found = []
    for number in range(count):
        ours = (f"127.0.0.{first + number % 20}", 0)
        found.append(stack.enter_context(socket.create_connection(("127.0.0.1", port), 60, source_address=ours)))
    return found


NEVER_NS = 10**12


def test_strangers_who_sit_at_the_door_do_not_keep_the_twin_out(twins, monkeypatch):
    """Also when nobody's patience is ever over."""
    monkeypatch.setattr(channel_module, "HANDSHAKE_NS", NEVER_NS)
    monkeypatch.setattr(receiver_module, "PATIENCE_NS", NEVER_NS)
    with ExitStack() as stack:
        sit(stack, twins.receiver.port, 30)
        sender = twins.send()
        sender.put(fragment(0))
        wait_for(lambda: sender.books.have.next_number == 1)
        sit(stack, twins.receiver.port, 30)
        sender.put(fragment(1))
        wait_for(lambda: sender.books.have.next_number == 2)
        wait_for(lambda: twins.receiver.refused >= 60 - GUESTS)
        assert sender.books.connects == 1


def test_a_stranger_who_trickles_is_gone_in_time_and_refusals_are_not_a_flood_of_lines(twins, monkeypatch, caplog):
    monkeypatch.setattr(channel_module, "HANDSHAKE_NS", 200_000_000)
    monkeypatch.setattr(receiver_module, "_LOG_EVERY_NS", NEVER_NS)
    with ExitStack() as stack:
        (link,) = sit(stack, twins.receiver.port, 1)
        with pytest.raises(OSError):  # long before the last of them
            for byte in b"\x16\x03\x01\x40\x00" + bytes(3000):  # a ClientHello of 16 KiB, a byte each 20 ms
                link.send(bytes([byte]))
                sleep_until(monotonic_ns() + 20_000_000)
        wait_for(lambda: twins.receiver.refused == 1)
        assert "handshake took more than 0.2 s" in caplog.text
        sit(stack, twins.receiver.port, 20)
        wait_for(lambda: twins.receiver.refused == 21)
    assert caplog.text.count("is refused") == 1


def as_twin(twins: Twins) -> Channel:
    """A connection with the twin's certificate."""
    link = socket.create_connection(("127.0.0.1", twins.receiver.port), 60)
    made = Channel(link, identity(twins.ca, "node-a", "node-b"), server_side=False)
    wait_for(lambda: made.pump() is not None and made.ready)
    return made


def test_who_shows_the_twins_certificate_and_only_looks_is_no_stranger(twins, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(receiver_module, "PATIENCE_NS", NEVER_NS)
    looker = as_twin(twins)
    wait_for(lambda: [guest for guest in twins.receiver._guests if guest.channel.ready])
    looker.close()
    wait_for(lambda: "went without HELLO" in caplog.text)
    silent = as_twin(twins)
    wait_for(lambda: [guest for guest in twins.receiver._guests if guest.channel.ready])
    monkeypatch.setattr(receiver_module, "PATIENCE_NS", 100_000_000)
    wait_for(lambda: caplog.text.count("went without HELLO") == 2)
    assert twins.receiver.refused == 0
    silent.close()


def test_a_knock_is_answered_refused_or_not_heard(twins, tmp_path, monkeypatch):
    address, ours = f"127.0.0.1:{twins.receiver.port}", identity(twins.ca, "node-a", "node-b")
    assert 0 < knock(address, ours) < 2000
    wait_for(lambda: not twins.receiver._guests)
    assert twins.receiver.refused == 0 and not twins.receiver.connected
    with pytest.raises(LinkError, match="is not node-b"):
        knock(address, identity(LocalCa(tmp_path / "other"), "node-a", "node-b"))
    with pytest.raises(LinkError, match="is not node-z"):
        knock(address, identity(twins.ca, "node-a", "node-z"))
    monkeypatch.setattr(knock_module, "_REFUSAL_NS", 60_000_000_000)
    with pytest.raises(LinkError, match="ended"):  # a node of ours, and not the twin
        knock(address, identity(twins.ca, "node-c", "node-b"))
    twins.receiver.close()
    with pytest.raises(LinkError, match="cannot be reached") as caught:
        knock(address, ours)
    assert "mirror_listen" in caught.value.hint
    monkeypatch.setattr(channel_module, "HANDSHAKE_NS", 100_000_000)
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(LinkError, match="handshake took more"):
        knock(f"127.0.0.1:{mute.getsockname()[1]}", ours)


def test_nonsense_right_behind_hello_does_not_end_the_mirror(twins, caplog):
    bad = as_twin(twins)
    bad.send(hello("node-a", 1))
    bad.send(Message(Kind.FRAGMENT, b"no fragment"))
    bad.flush()
    wait_for(lambda: "mirror of node-a" in caplog.text)
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    assert twins.receiver.refused == 0
    bad.close()


@pytest.mark.parametrize("stream", ["../../x" + "0" * 25, "ABCDEF" * 5 + "00", ""])
def test_a_streams_name_that_is_no_name_makes_no_file(twins, stream):
    init = replace(HEAD, stream=stream).to_bytes() + start()
    with pytest.raises(WireError, match="stream"):
        twins.receiver._take([Message(Kind.INIT, init), Message(Kind.FRAGMENT, fragment(0).to_bytes())])
    assert list(twins.folder.parent.rglob("*.mp4")) == []


# --- words of the twin -----------------------------------------------------------------------------------------------


@pytest.fixture
def sender(tmp_path: Path) -> Iterator[MirrorSender]:
    """One whose twin is away, with two streams of five fragments each."""
    twins = Twins(tmp_path)
    twins.receiver.close()
    made = twins.send()
    for stream in (OLD, NEW):
        made.begin(replace(HEAD, stream=stream), start())
        for number in range(5):
            made.put(fragment(number))
    yield made
    made.close()


def test_a_word_about_a_later_stream_ends_the_wait_for_the_older_one_unmeasured(sender):
    sender._hear(Have(OLD, 3), first=True)
    assert len(sender.to_twin_ms) == 3 and len(sender._put_ns) == 7
    sender._hear(Have(NEW, 2), first=False)  # two of the old one were lost on the way
    assert len(sender.to_twin_ms) == 5 and len(sender._put_ns) == 3


def test_a_word_about_an_older_stream_than_before_is_ignored(sender):
    sender._hear(Have(NEW, 4), first=True)
    before = (sender.books.have, len(sender._put_ns), len(sender.to_twin_ms))
    for late in (Have(OLD, 5), Have(OLD, 1), Have("ff" * 16, 9), Have()):
        sender._hear(late, first=False)
        assert (sender.books.have, len(sender._put_ns), len(sender.to_twin_ms)) == before
    assert not sender._all_there()
    sender._hear(Have(NEW, 5), first=False)
    assert sender._all_there()


def test_a_word_about_the_old_stream_says_nothing_of_the_new_ones_same_numbers(sender):
    sender._hear(Have(OLD, 5), first=True)
    assert len(sender._put_ns) == 5 and not sender._all_there()


def test_the_first_word_of_a_connection_may_name_anything(sender):
    sender._hear(Have(NEW, 4), first=True)
    sender._hear(Have(), first=True)  # the twin's recorder has begun a new life
    assert sender.books.have == Have() and sender._next == 0


def test_after_a_good_connection_the_pauses_begin_anew(twins):
    port = twins.receiver.port
    twins.receiver.close()
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender._pause_s > 0.3)
    twins.receiver = twins.receive(port)
    wait_for(lambda: sender.books.connected and sender._pause_s == 0.1)
    twins.receiver._twin._link.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: sender.books.connects == 2)


def test_what_the_twin_does_not_hold_at_the_end_is_said(sender, caplog):
    sender.close()
    assert "has not said that it holds our last 10 fragments" in caplog.text
    sender.put(fragment(5))  # a late thread's: nothing of ours is touched


def test_what_the_backlog_cannot_keep_for_want_of_a_key_frame_is_counted():
    backlog = Backlog(1000)
    backlog.begin("s", b"init")
    fill(backlog, range(15), size=1000)  # one group, more than twice the bound: it goes, and its rest with it
    assert backlog.get(0) is None
    fill(backlog, range(15, 17), size=100)
    item = backlog.get(0)
    assert item is not None and (item.number, item.serial) == (15, 15)
