"""The observer's log: who answered when, who claimed, which kernel carried; and the frames it reads them from."""

from __future__ import annotations

import socket
import struct
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from hil.failover.answers import SILENCE_NS, AnswerLog, Carrying, Claimed, Span, read_answers
from hil.failover.evidence import answers_of, intervals_of
from hil.failover.judge import Interval
from hil.failover.probe import Announcement, Answer, _Probe, address_changes, checksum, echo, read_frame

A, B = "02:00:00:00:00:01", "02:00:00:00:00:02"
VIP = bytes((198, 51, 100, 100))
MS = 1_000_000


def test_a_switch_is_two_spans_with_their_ends():
    log = AnswerLog()
    for at_ms in range(0, 20, 2):
        log.answer(at_ms * MS, at_ms * MS - 100, A)
    for at_ms in range(100, 120, 2):
        log.tick(at_ms * MS - 1)
        log.answer(at_ms * MS, at_ms * MS - 100, B)
    heard = read_answers(log.take().splitlines())
    assert heard.spans == (
        Span(A, 0, -100, 18 * MS, 10),
        Span(B, 100 * MS, 100 * MS - 100),
    )
    log.close()
    assert read_answers(['{"kind": "begin", "at_ns": 1, "sent_ns": 0, "mac": "x"}', *log.take().splitlines()]).spans[
        0
    ].last_ns == (118 * MS)


@given(st.lists(st.tuples(st.integers(1, 30 * MS), st.sampled_from([A, B])), min_size=1, max_size=60))
def test_spans_hold_every_answer_once_and_no_silence(answers: list[tuple[int, str]]):
    log, now_ns = AnswerLog(), 0
    for gap_ns, mac in answers:
        now_ns += gap_ns
        log.answer(now_ns, now_ns - 1, mac)
    log.close()
    spans = read_answers(log.take().splitlines()).spans
    assert sum(span.count for span in spans) == len(answers)
    for before, after in pairwise(spans):
        assert before.last_ns is not None
        assert before.mac != after.mac or after.first_ns - before.last_ns > SILENCE_NS


def test_a_line_cut_short_is_passed_over():
    log = AnswerLog()
    log.answer(1, 0, A)
    log.claim(2, B, "arp-request")
    text = log.take()
    assert read_answers(text[:-5].splitlines()).claims == ()
    assert read_answers(text.splitlines()).claims == (Claimed(B, 2, "arp-request"),)


def test_a_renewal_is_no_news_and_a_restart_begins_anew():
    log = AnswerLog()
    for at_ns, on in ((1, True), (2, True), (5, False), (6, False), (9, True)):
        log.carries(at_ns, "node-a", on)
    log.carries(7, "node-b", False)
    carrying = read_answers(log.take().splitlines()).carrying
    assert carrying == (Carrying("node-a", 1, True), Carrying("node-a", 5, False), Carrying("node-a", 9, True))
    assert intervals_of(carrying) == [Interval("node-a", 1, 5), Interval("node-a", 9)]


def test_answers_carry_the_names_of_nodes():
    spans = [Span(A, 1, 0, 5, 2), Span(B, 6, 5)]
    assert answers_of(spans, {A: "node-a"}) == [Interval("node-a", 1, 5), Interval(B, 6)]


def reply(sent_ns: int, identifier: int = 7, source: bytes = VIP) -> bytes:
    """What a node's kernel answers to ``echo``."""
    request = echo(identifier, 1, sent_ns)
    body = b"\0" + request[1:]
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0, source, bytes(4))
    return bytes(6) + bytes.fromhex(A.replace(":", "")) + b"\x08\x00" + ip + body


def test_a_reply_says_who_and_when_it_was_asked():
    assert read_frame(reply(123_456), VIP, 7) == Answer(A, 123_456)
    assert read_frame(reply(1), VIP, 8) is None
    assert read_frame(reply(1, source=bytes(4)), VIP, 7) is None


def test_an_echo_has_a_good_checksum():
    assert checksum(echo(7, 70_000, 2**62)) == 0


def arp(operation: int, sender: bytes, target: bytes) -> bytes:
    mac = bytes.fromhex(B.replace(":", ""))
    return b"\xff" * 6 + mac + b"\x08\x06\0\1\x08\0\6\4" + bytes([0, operation]) + mac + sender + bytes(6) + target


def test_only_gratuitous_arp_for_the_address_is_an_announcement():
    assert read_frame(arp(1, VIP, VIP), VIP, 7) == Announcement(B, "arp-request")
    assert read_frame(arp(2, VIP, VIP), VIP, 7) == Announcement(B, "arp-reply")
    assert read_frame(arp(1, bytes(4), VIP), VIP, 7) is None
    assert read_frame(arp(1, VIP, bytes(4)), VIP, 7) is None


@given(st.binary(max_size=80), st.integers(0, 80))
def test_any_frame_is_read_or_passed_over(noise: bytes, cut: int):
    read_frame(noise, VIP, 7)
    read_frame(reply(1)[:cut], VIP, 7)
    read_frame(arp(1, VIP, VIP)[:cut], VIP, 7)


def netlink(kind: int, address: bytes, attribute: int = 2) -> bytes:
    attributes = struct.pack("=HH", 4 + len(address), attribute) + address
    body = struct.pack("=BBBBI", socket.AF_INET, 24, 0, 0, 2) + struct.pack("=HHI", 8, 99, 1) + attributes
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def test_the_kernels_word_on_an_address():
    messages = netlink(20, VIP) + netlink(20, bytes(4)) + netlink(21, VIP) + netlink(24, VIP) + netlink(20, VIP, 3)
    assert list(address_changes(messages, VIP)) == [True, False]


def test_what_a_kernel_said_before_the_end_is_in_the_log(tmp_path):
    """The observer was not run between the last change and the word to end."""
    ours, kernel = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, kernel:
        probe = object.__new__(_Probe)
        probe._packed, probe._kernels = VIP, {ours.fileno(): ("node-a", ours)}
        probe.log, probe.ended = AnswerLog(), True
        kernel.send(netlink(20, VIP))
        kernel.send(netlink(21, VIP))
        probe.run(tmp_path / "log")
    carrying = read_answers((tmp_path / "log").read_text().splitlines()).carrying
    assert [(one.node, one.on) for one in carrying] == [("node-a", True), ("node-a", False)]


@given(st.binary(max_size=120))
def test_any_netlink_message_is_read_or_passed_over(noise: bytes):
    list(address_changes(noise, VIP))
    list(address_changes(netlink(20, VIP)[: len(noise)] + noise, VIP))
