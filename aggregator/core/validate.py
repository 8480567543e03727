"""What the network says is only a claim: bounds, checksum, layout, topic and numbers are checked before anything else.

A refusal is a value with a reason from a closed list, never an exception that escapes: one bad node must not stop the
rack, and every refused message is counted under its reason.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from touchline.record import (
    BatchHeader,
    ForeignBatch,
    OversizedBatch,
    RecordError,
    TruncatedBatch,
    unpack_batch,
)

MAX_DOCUMENT_BYTES: Final = 64 * 1024  # health, clock and event documents are a few hundred bytes
MAX_NUMBER: Final = 2**62  # SQLite integers are signed 64 bit; a real number is nowhere near
_TOPIC: Final = re.compile(r"tl/v1/([a-z0-9-]{1,16})/(det|health|clock|event)")
_FINITE: Final = ("x_m", "y_m", "vx_mps", "vy_mps")  # what every later step computes with


class Reason(str, Enum):
    """Why a message or a record was refused; the names are the metric's labels."""

    TOPIC = "topic"  # not one of ours
    NODE_UNKNOWN = "node_unknown"  # a node that the configuration does not list
    NODE_MISMATCH = "node_mismatch"  # the topic names one node, the header another
    TOO_LARGE = "too_large"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    FOREIGN = "foreign"
    OUT_OF_RANGE = "out_of_range"  # numbers that no node can have reached
    START_RETIRED = "start_retired"  # a start so old that its numbers are no longer known
    DOCUMENT = "document"  # a JSON topic that is not a JSON object
    NON_FINITE = "non_finite"  # counted per record: position or velocity is NaN or infinite


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message that was not taken, and why."""

    reason: Reason
    node: str
    detail: str


@dataclass(frozen=True, slots=True)
class Batch:
    """A checked batch: the header, and a read-only view of ``header.count`` records."""

    header: BatchHeader
    records: NDArray[np.void]


@dataclass(frozen=True, slots=True)
class Document:
    """A checked JSON message of a node; ``kind`` is health, clock or event."""

    node: str
    kind: str
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is taken at all: payload bytes, and node names (empty: any that the broker lets through)."""

    max_message_bytes: int = 1_048_576
    nodes: frozenset[str] = frozenset()


def check_message(topic: str, payload: bytes, limits: Limits) -> Batch | Document | Refusal:
    """Turn one MQTT message into a batch, a document, or a refusal; never raises, whatever the bytes."""
    match = _TOPIC.fullmatch(topic)
    if match is None:
        return Refusal(Reason.TOPIC, "", f"topic {topic[:80]!r}")
    node, kind = match.groups()
    if limits.nodes and node not in limits.nodes:
        return Refusal(Reason.NODE_UNKNOWN, node, "not in receive.nodes")
    if kind != "det":
        return _document(node, kind, payload)
    if len(payload) > limits.max_message_bytes:
        return Refusal(Reason.TOO_LARGE, node, f"{len(payload)} bytes, at most {limits.max_message_bytes}")
    return _batch(node, payload)


def _batch(node: str, payload: bytes) -> Batch | Refusal:
    try:
        header, records = unpack_batch(payload)
    except RecordError as error:
        return Refusal(_reason_of(error), node, error.message)
    if header.node != node:
        return Refusal(Reason.NODE_MISMATCH, node, f"the header says {header.node!r}")
    numbers = (header.epoch, header.batch_number, header.first_record)
    too_late = header.count and int(records["ptp_ns"].max()) >= MAX_NUMBER
    if max(numbers) >= MAX_NUMBER or too_late:
        return Refusal(Reason.OUT_OF_RANGE, node, f"epoch, batch, record {numbers}")
    return Batch(header, records)


def _reason_of(error: RecordError) -> Reason:
    if isinstance(error, TruncatedBatch):
        return Reason.TRUNCATED
    if isinstance(error, ForeignBatch):
        return Reason.FOREIGN
    return Reason.TOO_LARGE if isinstance(error, OversizedBatch) else Reason.CORRUPT


def _document(node: str, kind: str, payload: bytes) -> Document | Refusal:
    if len(payload) > MAX_DOCUMENT_BYTES:
        return Refusal(Reason.TOO_LARGE, node, f"{kind} of {len(payload)} bytes, at most {MAX_DOCUMENT_BYTES}")
    try:
        value = json.loads(payload, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        return Refusal(Reason.DOCUMENT, node, f"{kind}: {error}"[:160])
    if not isinstance(value, dict):
        return Refusal(Reason.DOCUMENT, node, f"{kind} is a {type(value).__name__}, not an object")
    return Document(node, kind, value)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def text_of(value: object, most: int) -> str:
    """A text of at most ``most`` characters; "" for anything else."""
    return value[:most] if isinstance(value, str) else ""


def number_of(value: object) -> float | int | None:
    """A finite number that fits 64 bits; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if abs(value) < 2**63 else None


def stamp_of(value: object) -> int | None:
    """A positive count (PTP ns, an epoch) that the store can hold; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MAX_NUMBER else None


def finite_mask(records: NDArray[np.void]) -> NDArray[np.bool_]:
    """Return (n,) bool: position and velocity are numbers. Acceleration and height may be unknown (NaN)."""
    mask = np.ones(len(records), np.bool_)
    for name in _FINITE:
        mask &= np.isfinite(records[name])
    return mask
