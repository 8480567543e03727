"""rtnetlink messages: packed as the kernel has them, read back, and damaged ones refused in one way only."""

from __future__ import annotations

import errno
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from failover.actions import netlink
from failover.actions.address import Found, found_of, new_address, old_address, parse_addresses
from failover.actions.netlink import Message, NetlinkError, attribute, attributes, failure, link_of, pack, unpack
from failover.actions.routes import kept_of

interfaces = st.one_of(
    st.builds(lambda ip, prefix: ipaddress.ip_interface((ip.packed, prefix)), st.ip_addresses(v=4), st.integers(0, 32)),
    st.builds(
        lambda ip, prefix: ipaddress.ip_interface((ip.packed, prefix)), st.ip_addresses(v=6), st.integers(0, 128)
    ),
)
indexes = st.integers(1, 2**31 - 1)


def test_golden_bytes_of_an_address_that_runs_out():
    # little-endian, as on both of our architectures; checked against what `ip -d address` shows (system test)
    body = new_address(ipaddress.ip_interface("192.0.2.10/24"), 7, 2)
    assert body.hex() == (
        "0218000007000000"  # AF_INET, /24, no flags, scope global, interface 7
        "08000200c000020a"  # IFA_LOCAL
        "08000100c000020a"  # IFA_ADDRESS
        "1400060000000000020000000000000000000000"  # IFA_CACHEINFO: preferred 0 s, valid 2 s
        "0800080000000000"  # IFA_FLAGS
        "05000b0074000000"  # IFA_PROTO
    )
    v6 = new_address(ipaddress.ip_interface("2001:db8::10/64"), 7, 1).hex()
    assert v6.startswith("0a40020007000000") and "0800080002000000" in v6  # IFA_F_NODAD


@given(interfaces, indexes, st.integers(1, 2))
def test_an_address_comes_back_as_it_was_packed(address, index, lifetime_s):
    found = found_of(Message(netlink.RTM_NEWADDR, 0, 1, new_address(address, index, lifetime_s)))
    flags = 2 if address.version == 6 else 0
    assert found == Found(index, address, flags, lifetime_s, 0x74)
    assert found.is_ours
    kept = found_of(Message(netlink.RTM_NEWADDR, 0, 1, old_address(address, index)))
    assert kept is not None and kept.address == address and not kept.is_ours


@given(st.dictionaries(st.integers(0, 0x3FFF), st.binary(max_size=40), max_size=8))
def test_attributes_come_back(wanted):
    assert attributes(b"".join(attribute(kind, data) for kind, data in wanted.items())) == wanted


@given(st.lists(st.binary(max_size=64), max_size=6))
def test_messages_come_back(bodies):
    data = b"".join(pack(20, 1, n, body) + bytes(-len(body) % 4) for n, body in enumerate(bodies))
    assert [one.body for one in unpack(data)] == bodies


@given(st.binary(max_size=200))
def test_whatever_comes_is_read_or_refused(data):
    for read in (lambda: list(unpack(data)), lambda: attributes(data)):
        try:
            read()
        except NetlinkError as error:
            assert error.errno == errno.EBADMSG


@given(st.sampled_from([16, 20, 24, 2, 3]), st.binary(max_size=120))
def test_damaged_answers_never_raise_anything_else(kind, body):
    message = Message(kind, 0x200, 1, body)
    for read in (found_of, link_of, failure, lambda one: kept_of(one, {1, 2})):
        try:
            read(message)
        except NetlinkError as error:
            assert error.errno == errno.EBADMSG


def test_the_kernels_own_words_are_kept():
    words = attribute(1, b"Interface is not up\0")
    body = struct.pack("=i", -errno.ENETDOWN) + struct.pack("=IHHII", 16, 20, 0, 1, 0) + words
    said = failure(Message(2, 0x300, 1, body))
    assert said is not None and said.errno == errno.ENETDOWN
    assert "Interface is not up" in str(said)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("", "write 1 to 4"), ("224.0.0.1/24", "multicast"), ("127.0.0.1/8", "loopback"), ("fe80::1/64", "link-local")],
)
def test_addresses_that_cannot_be_virtual_are_refused(text, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse_addresses(text)


def test_several_addresses_have_commas_between_them():
    assert [str(one) for one in parse_addresses("192.0.2.10/24, 2001:db8::10/64")] == [
        "192.0.2.10/24",
        "2001:db8::10/64",
    ]
