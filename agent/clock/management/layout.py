"""A data set's layout stands once, in its annotations; reading and writing both follow it. Pure."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import IntEnum, IntFlag
from typing import Annotated, Any, ClassVar, Final, TypeVar, get_type_hints

from agent.clock.management.errors import WireError
from agent.clock.management.values import ClockIdentity, PortIdentity, named

_SCALE: Final = 65_536  # a TimeInterval counts 2^-16 ns (IEEE 1588-2008, 5.3.2)
_INT64: Final = 1 << 63
_MAX_TEXT: Final = 255


@dataclass(frozen=True, slots=True)
class Wire:
    """How a field lies on the wire: its struct format, and the ways from struct's values to ours and back.

    Without a format it is a PTPText: one octet of length, then that many octets.
    """

    layout: struct.Struct | None
    decode: Callable[..., Any]
    encode: Callable[[Any], tuple[Any, ...]]


def _one(value: Any) -> tuple[Any, ...]:
    return (value,)


def number(code: str) -> Wire:
    """A number in network byte order; ``x`` in the code is a reserved octet."""
    return Wire(struct.Struct(f">{code}"), int, _one)


def enumeration(kind: type[IntEnum]) -> Wire:
    """An octet with names; a number without one stays a number."""
    return Wire(struct.Struct(">B"), lambda value: named(kind, value), _one)


def flags(kind: type[IntFlag], code: str = "B") -> Wire:
    """Bits with names; those without are kept."""
    return Wire(struct.Struct(f">{code}"), kind, _one)


def octets(count: int) -> Wire:
    """That many octets as they are."""
    return Wire(struct.Struct(f">{count}s"), bytes, lambda value: (_exactly(value, count),))


def counters(count: int) -> Wire:
    """That many 64-bit counters, little-endian whatever the machine: linuxptp sends them so."""
    return Wire(struct.Struct(f"<{count}Q"), lambda *values: values, tuple)


def _exactly(value: bytes, count: int) -> bytes:
    if len(value) != count:
        raise ValueError(f"{len(value)} octets, {count} are needed")
    return value


def _scaled(value_ns: float) -> int:
    return max(-_INT64, min(_INT64 - 1, round(value_ns * _SCALE)))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _text_octets(value: str) -> tuple[bytes]:
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) > _MAX_TEXT:
        raise ValueError(f"{len(raw)} octets of text, at most {_MAX_TEXT} are allowed")
    return (raw,)


U8 = Annotated[int, number("B")]
U16 = Annotated[int, number("H")]
U32 = Annotated[int, number("I")]
I8 = Annotated[int, number("b")]
I16 = Annotated[int, number("h")]
I32 = Annotated[int, number("i")]
I64 = Annotated[int, number("q")]
Truth32 = Annotated[bool, Wire(struct.Struct(">i"), bool, lambda value: (int(value),))]
Interval = Annotated[float, Wire(struct.Struct(">q"), lambda raw: raw / _SCALE, lambda value: (_scaled(value),))]
"""A TimeInterval, in ns here; exact below 137 s."""
ScaledNs = Annotated[
    int,
    Wire(
        struct.Struct(">12s"),
        lambda raw: int.from_bytes(raw, "big", signed=True),
        lambda value: (value.to_bytes(12, "big", signed=True),),
    ),
]
"""A ScaledNs of 96 bits, as the whole number of 2^-16 ns that it is."""
Clock = Annotated[ClockIdentity, Wire(struct.Struct(">8s"), ClockIdentity, lambda value: (value.raw,))]
Port = Annotated[
    PortIdentity,
    Wire(
        struct.Struct(">8sH"),
        lambda clock, port: PortIdentity(ClockIdentity(clock), port),
        lambda value: (value.clock.raw, value.port),
    ),
]
Text = Annotated[str, Wire(None, _text, _text_octets)]
"""Only as the last field. Octets that are no UTF-8 survive a round trip."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """A management data set. Subclasses are frozen dataclasses whose fields, in order, are its layout.

    ``MANAGEMENT_ID`` and ``NAME`` as in linuxptp; ``PER_PORT``: each port has its own, not the clock.
    """

    MANAGEMENT_ID: ClassVar[int]
    NAME: ClassVar[str]
    PER_PORT: ClassVar[bool] = False


Kind = TypeVar("Kind", bound=DataSet)

_FOUND: dict[type[DataSet], tuple[tuple[str, Wire], ...]] = {}


def layout_of(kind: type[DataSet]) -> tuple[tuple[str, Wire], ...]:
    """The names of a data set's fields and how each lies on the wire."""
    found = _FOUND.get(kind)
    if found is None:
        hints = get_type_hints(kind, include_extras=True)
        found = tuple((one.name, hints[one.name].__metadata__[0]) for one in fields(kind))
        _FOUND[kind] = found
    return found


def encode_data(data_set: DataSet) -> bytes:
    """Return the data octets of a data set, padded to even length. ValueError for a value that does not fit."""
    parts = []
    for name, wire in layout_of(type(data_set)):
        value = getattr(data_set, name)
        try:
            if wire.layout is None:
                (raw,) = wire.encode(value)
                parts.append(bytes([len(raw)]) + raw)
            else:
                parts.append(wire.layout.pack(*wire.encode(value)))
        except (struct.error, OverflowError, ValueError) as error:
            raise ValueError(f"{data_set.NAME}: {name} = {value!r} does not fit: {error}") from error
    whole = b"".join(parts)
    return whole + b"\0" * (len(whole) % 2)


def decode_data(kind: type[Kind], data: bytes) -> Kind:
    """Read a data set. Raises WireError for octets that are too few or too many: no layout is guessed."""
    values = {}
    offset = 0
    for name, wire in layout_of(kind):
        size = wire.layout.size if wire.layout is not None else 1 + (data[offset] if offset < len(data) else 0)
        if len(data) - offset < size:
            raise _wrong_length(kind, data, f"{name} is cut off")
        if wire.layout is None:
            values[name] = wire.decode(data[offset + 1 : offset + size])
        else:
            values[name] = wire.decode(*wire.layout.unpack_from(data, offset))
        offset += size
    if len(data) != offset + offset % 2:
        raise _wrong_length(kind, data, f"its fields take {offset}")
    return kind(**values)


def _wrong_length(kind: type[DataSet], data: bytes, why: str) -> WireError:
    return WireError(
        f"{kind.NAME} of {len(data)} octets: {why}", hint="this linuxptp uses a layout that this program does not know"
    )
