"""PTP management messages: octets to values and back (IEEE 1588-2008 and 2019, clause 15). Pure.

Common header (34 octets), target and action (14), one management TLV. TLVs behind the first are passed over when they
are whole (PAD, AUTHENTICATION); octets behind messageLength are padding and ignored.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from agent.clock.management.errors import WireError
from agent.clock.management.values import (
    Action,
    ClockIdentity,
    ErrorCode,
    MessageType,
    PortIdentity,
    named,
    number_text,
)

MAX_MESSAGE: Final = 1500  # linuxptp's own buffer; nothing longer is ever sent
FIXED: Final = 48  # octets before the first TLV

_HEADER: Final = struct.Struct(">BBHBBHq4s8sHHBb")  # 34
_TARGET: Final = struct.Struct(">8sHBBBx")  # 14
_TLV: Final = struct.Struct(">HH")
_ID: Final = struct.Struct(">H")
_ERROR: Final = struct.Struct(">HH4x")

_MANAGEMENT_TLV, _ERROR_TLV = 0x0001, 0x0002
_VERSION: Final = 2
_CONTROL_MANAGEMENT: Final = 4
_NO_INTERVAL: Final = 0x7F
_NIBBLE: Final = 0x0F


@dataclass(frozen=True, slots=True)
class Management:
    """A data set as octets: TLV 0x0001. Without ``data``: a question, or an answer with nothing in it."""

    management_id: int
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class ErrorStatus:
    """A refusal: TLV 0x0002."""

    code: ErrorCode | int
    management_id: int
    text: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One management message.

    ``transport_specific``: majorSdoId, the header's upper nibble (1 = 802.1AS). ``hops``: boundaryHops; 0 never leaves
    the ptp4l that gets it.
    """

    action: Action | int
    source: PortIdentity
    target: PortIdentity
    sequence_id: int
    body: Management | ErrorStatus
    domain: int = 0
    transport_specific: int = 0
    minor_version: int = 0
    flags: int = 0
    starting_hops: int = 0
    hops: int = 0


def encode(message: Message) -> bytes:
    """Return the message's octets. ValueError for a value that does not fit its field."""
    body = _encode_body(message.body)
    if FIXED + len(body) > MAX_MESSAGE:
        raise ValueError(f"a message of {FIXED + len(body)} octets, at most {MAX_MESSAGE} are allowed")
    if not 0 <= message.transport_specific <= _NIBBLE or not 0 <= message.minor_version <= _NIBBLE:
        raise ValueError("transport_specific and minor_version are 0..15")
    if not 0 <= message.action <= _NIBBLE:
        raise ValueError("action is 0..15")
    try:
        header = _HEADER.pack(
            message.transport_specific << 4 | MessageType.MANAGEMENT,
            message.minor_version << 4 | _VERSION,
            FIXED + len(body),
            message.domain,
            0,
            message.flags,
            0,
            b"",
            message.source.clock.raw,
            message.source.port,
            message.sequence_id,
            _CONTROL_MANAGEMENT,
            _NO_INTERVAL,
        )
        target = message.target
        aim = _TARGET.pack(target.clock.raw, target.port, message.starting_hops, message.hops, message.action)
    except struct.error as error:
        raise ValueError(f"a field of the message does not fit: {error}") from error
    return header + aim + body


def _encode_body(body: Management | ErrorStatus) -> bytes:
    try:
        if isinstance(body, Management):
            type_, value = _MANAGEMENT_TLV, _ID.pack(body.management_id) + body.data
        else:
            said = body.text.encode("utf-8", "surrogateescape")
            type_, value = _ERROR_TLV, _ERROR.pack(body.code, body.management_id)
            value += bytes([len(said)]) + said if said else b""
    except (struct.error, ValueError) as error:
        raise ValueError(f"{body} does not fit a TLV: {error}") from error
    value += b"\0" * (len(value) % 2)
    return _TLV.pack(type_, len(value)) + value


def decode(datagram: bytes) -> Message:
    """Read a message. Raises WireError, and nothing else, for octets that are none."""
    if not FIXED <= len(datagram) <= MAX_MESSAGE:
        raise WireError(f"{len(datagram)} octets are no management message: {FIXED}..{MAX_MESSAGE} are")
    (kind, version, length, domain, _, flags, _, _, clock, port, sequence_id, _, _) = _HEADER.unpack_from(datagram)
    if kind & _NIBBLE != MessageType.MANAGEMENT:
        raise WireError(f"message type {kind & _NIBBLE:#x} is not management ({MessageType.MANAGEMENT:#x})")
    if version & _NIBBLE != _VERSION:
        raise WireError(f"PTP version {version & _NIBBLE}, this program speaks {_VERSION}")
    if not FIXED <= length <= len(datagram):
        raise WireError(f"messageLength {length} in a datagram of {len(datagram)} octets")
    target_clock, target_port, starting_hops, hops, action = _TARGET.unpack_from(datagram, _HEADER.size)
    return Message(
        named(Action, action & _NIBBLE),
        PortIdentity(ClockIdentity(clock), port),
        PortIdentity(ClockIdentity(target_clock), target_port),
        sequence_id,
        _decode_body(datagram[FIXED:length]),
        domain=domain,
        transport_specific=kind >> 4,
        minor_version=version >> 4,
        flags=flags,
        starting_hops=starting_hops,
        hops=hops,
    )


def _decode_body(suffix: bytes) -> Management | ErrorStatus:
    tlvs = _tlvs(suffix)
    if not tlvs:
        raise WireError("a management message without a TLV")
    type_, value = tlvs[0]
    if type_ == _MANAGEMENT_TLV:
        if len(value) < _ID.size:
            raise WireError("a management TLV without an id")
        return Management(_ID.unpack_from(value)[0], value[_ID.size :])
    if type_ == _ERROR_TLV:
        if len(value) < _ERROR.size:
            raise WireError(f"MANAGEMENT_ERROR_STATUS of {len(value)} octets, {_ERROR.size} are its least")
        code, management_id = _ERROR.unpack_from(value)
        return ErrorStatus(named(ErrorCode, code), management_id, _display(value[_ERROR.size :]))
    raise WireError(f"TLV type {number_text(type_)} where a management TLV belongs")


def _tlvs(suffix: bytes) -> list[tuple[int, bytes]]:
    found = []
    offset = 0
    while offset < len(suffix):
        if len(suffix) - offset < _TLV.size:
            raise WireError(f"{len(suffix) - offset} octets left over where a TLV begins")
        type_, length = _TLV.unpack_from(suffix, offset)
        offset += _TLV.size
        if length % 2:
            raise WireError(f"a TLV of odd length {length}")
        if length > len(suffix) - offset:
            raise WireError(f"a TLV of {length} octets, {len(suffix) - offset} are left")
        found.append((type_, suffix[offset : offset + length]))
        offset += length
    return found


def _display(data: bytes) -> str:
    """The optional text of an error: one octet of length, then UTF-8."""
    if not data:
        return ""
    if data[0] > len(data) - 1:
        raise WireError(f"an error text of {data[0]} octets, {len(data) - 1} are left")
    return data[1 : 1 + data[0]].decode("utf-8", "surrogateescape")
