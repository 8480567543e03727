"""The twin's copy: words on the wire, what waits in memory, and two real ends over mutual TLS."""

from __future__ import annotations

import random
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.record.files import Bounds, Shelf
from agent.record.fragment import Fragment
from agent.record.mirror import wire
from agent.record.mirror.backlog import Backlog
from agent.record.mirror.channel import Channel
from agent.record.mirror.receiver import MirrorReceiver
from agent.record.mirror.sender import MirrorSender
from agent.record.mirror.tls import Identity
from agent.record.mirror.wire import Decoder, Have, Kind, Message, WireError, hello, read_hello
from agent.record.read import read_recording
from hil.rack.pki import LocalCa
from tests.agent.record.helpers import HEAD, PTP_NS, fragment, start, wait_for
from tests.ports import free_port
from touchline.config import MqttSection
from touchline.errors import ConfigError, LinkError, ResourceError

# --- words -----------------------------------------------------------------------------------------------------------

messages = st.one_of(
    st.just(Message(Kind.PING)),
    st.builds(Message, st.sampled_from([Kind.INIT, Kind.FRAGMENT, Kind.HELLO]), st.binary(max_size=100)),
    st.builds(
        lambda *fields: Have(*fields).message(),
        st.binary(min_size=16, max_size=16).map(bytes.hex),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
        st.integers(0, 2**64 - 1),
    ),
)


@given(said=st.lists(messages, max_size=8), cut=st.integers(1, 40))
def test_messages_come_back_however_they_are_cut(said, cut):
    data = b"".join(one.to_bytes() for one in said)
    decoder = Decoder()
    parts = [data[at : at + cut] for at in range(0, len(data), cut)]
    assert [one for part in parts for one in decoder.feed(part)] == said


@given(data=st.binary(max_size=200))
def test_any_bytes_are_messages_or_an_error(data):
    try:
        for message in Decoder().feed(data):
            try:
                Have.of(message)
            except WireError:
                read_hello(message)
    except WireError:
        pass


@pytest.mark.parametrize(
    "data", [b"\x09\0\0\0\0\0\0\0", b"\x05\0\0\0\0\0\0\x01", b"\x02\0\0\0\0\0\0\x29", b"\x04\0\0\0\xff\0\0\0"]
)
def test_nonsense_and_monsters_are_refused_by_their_head(data):
    with pytest.raises(WireError):
        list(Decoder().feed(data))


def test_hello_names_node_and_camera():
    assert read_hello(hello("node-a", 3)) == ("node-a", 3)
    for body in (b"{", b"[]", b'{"version":2}', b'{"version":1,"node":1,"camera":1}', b'{"version":1,"node":"a"}'):
        with pytest.raises(WireError):
            read_hello(Message(Kind.HELLO, body))


# --- what waits ------------------------------------------------------------------------------------------------------


def fill(backlog: Backlog, numbers: range, size: int = 100, stream: str = "s") -> None:
    for number in numbers:
        backlog.put(stream, number, number % 15 == 0, PTP_NS + number, bytes(size))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 400)), max_size=120), st.integers(500, 5000))
def test_the_backlog_is_bounded_and_begins_with_a_key_frame(items, bound):
    backlog = Backlog(bound)
    backlog.begin("s", b"init")
    for number, (key, size) in enumerate(items):
        backlog.put("s", number, key, number, bytes(size))
        first = backlog.get(0)
        assert first is None or first.key
        assert backlog.bytes <= 2 * bound + 400
        serial, seen = 0 if first is None else first.serial, 0
        while (item := backlog.get(serial)) is not None:
            assert item.serial == serial
            serial, seen = serial + 1, seen + len(item.data)
        assert seen == backlog.bytes


def test_a_twin_that_comes_back_goes_on_where_it_was():
    backlog = Backlog(10**6)
    backlog.begin("s", b"init")
    fill(backlog, range(40))
    assert backlog.after(Have("s", 17)) == 17
    assert backlog.after(Have("s", 40)) == 40
    assert backlog.after(Have("other", 17)) == 0
    assert backlog.after(Have()) == 0


def test_a_twin_that_was_away_too_long_goes_on_at_a_key_frame():
    backlog = Backlog(3000)
    backlog.begin("s", b"init")
    fill(backlog, range(100))
    item = backlog.get(backlog.after(Have("s", 17)))
    assert item is not None and item.key and item.number >= 60


def test_the_tail_of_an_ended_stream_is_still_there_and_its_start_too():
    backlog = Backlog(10**6)
    backlog.begin("s", b"first")
    fill(backlog, range(20))
    backlog.begin("t", b"second")
    fill(backlog, range(5), stream="t")
    at = backlog.after(Have("s", 18))
    assert [cast(Any, backlog.get(at + n)).stream for n in range(7)] == ["s", "s", "t", "t", "t", "t", "t"]
    assert (backlog.init("s"), backlog.init("t")) == (b"first", b"second")


def test_starts_of_streams_that_are_gone_are_forgotten():
    backlog = Backlog(3000)
    for stream in range(50):
        backlog.begin(str(stream), b"init")
        fill(backlog, range(15), stream=str(stream))
    assert len(backlog._inits) < 5


# --- two ends -------------------------------------------------------------------------------------------------------


def identity(ca: LocalCa, name: str, twin: str) -> Identity:
    files = ca.client(name)
    section = MqttSection.model_validate(
        {"host": "rack", "ca_file": files.ca_file, "cert_file": files.cert_file, "key_file": files.key_file}
    )
    return Identity(section, twin)


def wait_until_there(sender: MirrorSender, number: int) -> None:
    wait_for(lambda: sender.books.have.next_number == number + 1)


class Twins:
    """node-a sends, node-b receives."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "mirror"
        self.ca = LocalCa(folder / "pki")
        self.ends: list[Any] = []
        self.receiver = self.receive()

    def receive(self, port: int = 0, bounds: Bounds | None = None) -> MirrorReceiver:
        shelf = Shelf(self.folder, bounds or Bounds(1 << 30), lambda *_: None)
        made = MirrorReceiver(f"127.0.0.1:{port or free_port()}", identity(self.ca, "node-b", "node-a"), 1, shelf)
        self.ends.append(made)
        return made

    def send(self, who: Identity | None = None, name: str = "node-a", max_bytes: int = 1 << 20) -> MirrorSender:
        made = MirrorSender(
            f"127.0.0.1:{self.receiver.port}", who or identity(self.ca, "node-a", "node-b"), name, 1, max_bytes
        )
        self.ends.append(made)
        made.begin(HEAD, start())
        return made

    def numbers(self) -> list[int]:
        found = [read_recording(path) for path in sorted(self.folder.glob("*.mp4"))]
        return sorted(int(n) for one in found if one is not None for n in one.frames["number"])


@pytest.fixture
def twins(tmp_path: Path) -> Iterator[Twins]:
    made = Twins(tmp_path)
    yield made
    for end in made.ends:
        end.close()


def test_every_fragment_is_with_the_twin_at_once_and_both_know(twins):
    sender = twins.send()
    for number in range(60):
        sender.put(fragment(number))
    last = PTP_NS + 59 * 20_000_000
    wait_for(lambda: sender.books.have.ptp_ns == last)
    assert twins.receiver.tail.ptp_ns == last
    assert (twins.receiver.tail.active, twins.receiver.tail.epoch) == (True, 7)
    assert twins.numbers() == list(range(60))
    wait_for(lambda: len(sender.to_twin_ms) == 60)
    assert sender.books.have.stored_bytes == sum(path.stat().st_size for path in twins.folder.glob("*.mp4"))


def test_a_receiver_that_was_away_catches_up_without_a_hole(twins):
    sender = twins.send()
    for number in range(20):
        sender.put(fragment(number))
    wait_for(lambda: sender.books.have.next_number == 20)
    port = twins.receiver.port
    twins.receiver.close()
    for number in range(20, 50):
        sender.put(fragment(number))
    wait_for(lambda: not sender.books.connected)
    twins.receiver = twins.receive(port)  # another life: it knows nothing any more
    wait_for(lambda: sender.books.have.next_number == 50)
    assert set(twins.numbers()) == set(range(50))
    assert sender.books.skipped == 0


def test_a_connection_cut_in_the_middle_goes_on_at_the_next_fragment(twins):
    sender = twins.send()
    for number in range(100):
        sender.put(fragment(number))
        if number in (30, 70):
            wait_until_there(sender, number)
            twin = twins.receiver._twin
            assert twin is not None
            twin._link.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: sender.books.have.next_number == 100)
    assert sender.books.connects == 3
    assert twins.numbers() == list(range(100))
    assert len(list(twins.folder.glob("*.mp4"))) == 1


def test_a_twin_that_was_away_longer_than_the_backlog_gets_the_newest_from_a_key_frame(twins):
    port = twins.receiver.port
    twins.receiver.close()
    sender = twins.send(max_bytes=20_000)
    for number in range(300):
        sender.put(fragment(number, data=bytes(500)))
    twins.receiver = twins.receive(port)
    wait_for(lambda: sender.books.have.next_number == 300)
    got = twins.numbers()
    assert got == list(range(got[0], 300)) and got[0] % 15 == 0 and got[0] > 0
    assert sender.books.skipped == got[0]


def test_the_mirror_is_bounded_and_keeps_the_newest(tmp_path):
    twins = Twins(tmp_path)
    twins.receiver.close()
    twins.receiver = twins.receive(bounds=Bounds(200_000, file_bytes=50_000))
    sender = twins.send()
    try:
        for number in range(400):
            sender.put(fragment(number, data=bytes(2000)))
        wait_for(lambda: sender.books.have.next_number == 400)
        got = twins.numbers()
        assert sum(path.stat().st_size for path in twins.folder.glob("*.mp4")) <= 200_000
        assert got == list(range(got[0], 400)) and len(got) >= 50
    finally:
        for end in twins.ends:
            end.close()


def another_stream(sender: MirrorSender) -> None:
    """Ten fragments of another one, until the twin has them."""
    sender.begin(replace(HEAD, stream="ab" * 16), start())
    for number in range(10):
        sender.put(fragment(number))
    wait_for(lambda: (sender.books.have.stream, sender.books.have.next_number) == ("ab" * 16, 10))


def test_two_streams_one_after_the_other(twins):
    sender = twins.send()
    for number in range(20):
        sender.put(fragment(number))
    another_stream(sender)
    assert sorted(twins.numbers()) == sorted([*range(20), *range(10)])


def test_closing_waits_until_the_twin_has_all(twins):
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.connected)
    for number in range(1, 200):
        sender.put(fragment(number, data=random.Random(number).randbytes(3000)))
    sender.close(flush_s=60.0)
    assert twins.numbers() == list(range(200))


@pytest.mark.parametrize("fault", ["other_ca", "other_name", "expired"])
def test_who_is_not_the_twin_is_refused_by_the_receiver(twins, tmp_path, fault):
    if fault == "other_ca":
        stranger = identity(LocalCa(tmp_path / "other"), "node-a", "node-b")
    elif fault == "other_name":
        stranger = identity(twins.ca, "node-c", "node-b")
    else:
        stranger = identity(twins.ca, "node-a", "node-b")
        twins.ca.client("node-a", valid_days=-1.0)
    sender = twins.send(stranger)
    sender.put(fragment(0))
    wait_for(lambda: twins.receiver.refused)
    assert not sender.books.connected and sender.books.have.ptp_ns == 0
    assert list(twins.folder.glob("*.mp4")) == []


def test_a_receiver_that_is_not_the_twin_is_refused_by_the_sender(twins):
    sender = twins.send(identity(twins.ca, "node-a", "node-z"))
    sender.put(fragment(0))
    wait_for(lambda: "is not node-z" in sender.books.trouble)
    assert list(twins.folder.glob("*.mp4")) == []


def test_a_connection_without_a_certificate_is_refused(twins):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection(("127.0.0.1", twins.receiver.port), 60) as plain,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        link = context.wrap_socket(plain)
        link.settimeout(60)
        link.sendall(hello("node-a", 1).to_bytes())
        assert link.recv(1) != b""
        raise OSError("it was let in")
    wait_for(lambda: twins.receiver.refused)


def test_noise_at_the_port_hurts_nobody(twins):
    plain = socket.create_connection(("127.0.0.1", twins.receiver.port), 60)
    plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
    silent = socket.create_connection(("127.0.0.1", twins.receiver.port), 60)
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    plain.close()
    silent.close()


def test_another_camera_than_awaited_is_refused(twins):
    sender = MirrorSender(
        f"127.0.0.1:{twins.receiver.port}", identity(twins.ca, "node-a", "node-b"), "node-a", 2, 1 << 20
    )
    twins.ends.append(sender)
    wait_for(lambda: twins.receiver.refused)


def test_a_port_that_is_taken_is_an_error_with_its_fix(twins, tmp_path):
    shelf = Shelf(tmp_path / "x", Bounds(1 << 20), lambda *_: None)
    with pytest.raises(ResourceError, match=r"record\.mirror_listen"):
        MirrorReceiver(f"127.0.0.1:{twins.receiver.port}", identity(twins.ca, "node-b", "node-a"), 1, shelf)


def test_certificates_that_cannot_be_used_are_said_at_the_start(tmp_path):
    nowhere = SimpleNamespace(ca_file=tmp_path / "no", cert_file=tmp_path / "no", key_file=tmp_path / "no")
    with pytest.raises(ConfigError, match=r"mqtt\."):
        Identity(cast(MqttSection, nowhere), "node-b")


def test_a_damaged_fragment_ends_the_connection_and_is_not_written(twins):
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    receiver = twins.receiver
    bad = bytearray(fragment(1).to_bytes())
    bad[-1] ^= 1
    with pytest.raises(ValueError, match="damaged"):
        receiver._take([Message(Kind.FRAGMENT, bytes(bad))])
    assert receiver._next == 1


# --- neither thread ends ----------------------------------------------------------------------------------------------


def test_a_fragment_that_no_message_takes_is_skipped_once_and_said(twins, monkeypatch, caplog):
    monkeypatch.setitem(wire._LIMITS, Kind.FRAGMENT, 2_000)
    sender = twins.send()
    for number in range(40):
        sender.put(fragment(number, data=bytes(3_000) if number == 20 else b""))
    wait_for(lambda: sender.books.have.next_number == 40)
    twin = twins.receiver._twin
    assert twin is not None
    twin._link.shutdown(socket.SHUT_RDWR)
    sender.put(fragment(40))
    wait_for(lambda: sender.books.have.next_number == 41)
    assert sender.books.skipped == 1
    assert twins.numbers() == [*range(20), *range(30, 41)], "from the next key frame on"
    assert len([one for one in caplog.messages if "FRAGMENT of 3" in one]) == 1


def test_a_fragment_that_comes_again_after_the_connection_ended_is_skipped_once(twins, monkeypatch):
    monkeypatch.setitem(wire._LIMITS, Kind.FRAGMENT, 2_000)
    port = twins.receiver.port
    sender = twins.send()
    for number in range(20):
        sender.put(fragment(number, data=bytes(3_000) if number == 17 else b""))
    wait_for(lambda: sender.books.have.next_number == 20)
    twins.receiver.close()
    wait_for(lambda: not sender.books.connected)
    twins.receiver = twins.receive(port)  # it asks for all that the backlog has
    wait_for(lambda: sender.books.connects == 2 and sender.books.have.next_number == 20)
    assert sender.books.skipped == 1


def test_a_beginning_that_no_message_takes_costs_its_stream_alone(twins, monkeypatch):
    monkeypatch.setitem(wire._LIMITS, Kind.INIT, len(HEAD.to_bytes() + start()) + 100)
    sender = twins.send()
    sender.begin(replace(HEAD, stream="cd" * 16), start(bytes(200)))
    for number in range(20):
        sender.put(fragment(number))
    another_stream(sender)
    assert sender.books.skipped == 20 and twins.numbers() == list(range(10))


def test_a_node_whose_name_no_message_takes_is_told_and_the_thread_goes_on(twins):
    sender = twins.send(name="n" * 5_000)
    wait_for(lambda: "HELLO of" in sender.books.trouble)
    assert sender._thread.is_alive()


def test_a_connection_that_cannot_be_set_up_ends_alone(twins, monkeypatch):
    real, left = socket.socket.setsockopt, [4]

    def refuse(link: socket.socket, level: int, option: int, *rest: Any) -> None:
        if option == socket.TCP_NODELAY and level == socket.IPPROTO_TCP and left[0]:
            left[0] -= 1
            raise OSError(22, "Invalid argument")
        real(link, level, option, *rest)

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    plain = [socket.create_connection(("127.0.0.1", twins.receiver.port), 60) for _ in range(4)]
    wait_for(lambda: twins.receiver.refused == 4)
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    for one in plain:
        one.close()


def test_a_link_that_cannot_be_set_up_is_closed(tmp_path):
    ours, theirs = socket.socketpair()  # AF_UNIX knows no TCP_NODELAY
    with theirs, pytest.raises(LinkError, match="the mirror's connection"):
        Channel(ours, identity(LocalCa(tmp_path), "node-a", "node-b"), server_side=False)
    assert ours.fileno() == -1


def test_a_turn_of_the_receiver_that_fails_is_counted_and_the_next_one_begins_anew(twins, monkeypatch):
    """As a descriptor that select refuses: too large a number."""
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    real, left = select.select, [3]

    def refuse(*what: Any) -> Any:
        if threading.current_thread() is twins.receiver._thread and left[0]:
            left[0] -= 1
            raise ValueError("filedescriptor out of range in select()")
        return real(*what)

    monkeypatch.setattr("agent.record.mirror.receiver.select", SimpleNamespace(select=refuse))
    wait_for(lambda: twins.receiver.refused == 3)
    sender.put(fragment(1))
    wait_for(lambda: sender.books.have.next_number == 2)
    assert sender.books.connects == 2


def test_a_disk_that_fails_in_an_unexpected_place_ends_the_connection_and_no_thread(twins, monkeypatch):
    sender = twins.send()
    sender.put(fragment(0))
    wait_for(lambda: sender.books.have.next_number == 1)
    real, left = twins.receiver._shelf.put, [1]

    def fail(one: Fragment) -> bool:
        if left[0]:
            left[0] -= 1
            raise OSError(30, "Read-only file system")
        return bool(real(one))

    monkeypatch.setattr(twins.receiver._shelf, "put", fail)
    for number in range(1, 20):
        sender.put(fragment(number))
    wait_for(lambda: sender.books.have.next_number == 20)
    assert sender.books.connects == 2
