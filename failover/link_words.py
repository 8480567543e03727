"""What failover service, publisher and recorders say to each other: one JSON object of at most 4 KiB a message. Pure.

``*_message`` make the bytes of a word; :func:`read_service`, :func:`read_publisher`, :func:`read_recorder` check them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from failover.core.types import MAX_CAMERAS, CameraCursor, Gate, Health, Pipeline, Role
from touchline.errors import InputError

MAX_MESSAGE_BYTES: Final = 4096
_MAX_COUNT: Final = 2**63 - 1
_MAX_CAMERA: Final = 65_535
_MAX_TEXT: Final = 400
_SEVERITIES: Final = ("info", "warning", "error")
RECORDER_STATES: Final = ("starting", "recording", "standing", "waiting", "disk")


class LinkFormatError(InputError):
    """Bytes that are no message of this link."""


@dataclass(frozen=True, slots=True)
class NodeEvent:
    """An event for the rack, without its time: severity, code, text and free fields under ``detail``."""

    severity: str
    code: str
    text: str
    detail: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The fields of the node's event document."""
        bare = {"severity": self.severity, "code": self.code, "text": self.text}
        return {**bare, "detail": dict(self.detail)} if self.detail else bare


@dataclass(frozen=True, slots=True)
class PublisherWord:
    """What the publisher says of the node; ``rack_ok`` in its health is the service's to fill in.

    ``trouble``: why it is not fit, in words, or empty.
    """

    pipeline: Pipeline
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Opened:
    """The gate opened and a first frame left, at ``at_ns`` (monotonic); ``first`` is None when it showed nobody."""

    epoch: int
    first: CameraCursor | None
    at_ns: int


@dataclass(frozen=True, slots=True)
class RecorderWord:
    """What the recorder of one camera says of itself. ``*_ptp_ns``: exposures; the other ``*_ns``: monotonic; 0: none.

    ``role`` and ``epoch`` as the agent told it, at ``told_ns``. ``last``: the newest picture on the disk. ``first``:
    the first one written under this role; it proves that role and encoder are at work. ``before_ptp_ns``: the picture
    before that one; after a stopped standby the twin's last that had been mirrored. ``twin_ptp_ns``: the newest that
    is mirrored by now. ``state``: recording; standing (stopped by choice); starting; waiting (no encoder runs); disk
    (nothing is written).
    """

    camera: int
    role: Role
    epoch: int
    told_ns: int = 0
    state: str = "starting"
    last_ptp_ns: int = 0
    last_ns: int = 0
    first_ptp_ns: int = 0
    first_ns: int = 0
    before_ptp_ns: int = 0
    twin_ptp_ns: int = 0
    trouble: str = ""


FromService = Gate | NodeEvent
FromPublisher = PublisherWord | Opened
_RECORDER_TIMES: Final = (
    "told_ns", "last_ptp_ns", "last_ns", "first_ptp_ns", "first_ns", "before_ptp_ns", "twin_ptp_ns",
)  # fmt: skip
ABSENT: Final = PublisherWord(Pipeline(Health()), "the publisher is not connected")


# --- bytes ----------------------------------------------------------------------------------------------------------


def gate_message(gate: Gate) -> bytes:
    """A gate, to the publisher."""
    return _encode(
        {
            "type": "gate",
            "open": gate.open,
            "epoch": gate.epoch,
            "until_ns": gate.until_ns,
            "role": gate.role.value,
            "settled": gate.settled,
            "covered": _pairs(gate.covered),
        }
    )


def event_message(event: NodeEvent) -> bytes:
    """An event, to the publisher; a ``detail`` that does not fit into a message is left out and said so."""
    whole = {"type": "event", "event": event.document()}
    data = _bytes(whole)
    if len(data) <= MAX_MESSAGE_BYTES:
        return data
    bare = NodeEvent(event.severity, event.code, event.text[:_MAX_TEXT], {"left_out_bytes": len(data)})
    return _encode({"type": "event", "event": bare.document()})


def pipeline_message(word: PublisherWord) -> bytes:
    """The publisher's word, to the service."""
    health = word.pipeline.health
    return _encode(
        {
            "type": "pipeline",
            "cursors": _pairs(word.pipeline.cursors),
            "cameras": health.cameras,
            "clock_ok": health.clock_ok,
            "hot": health.hot,
            "publishing": health.publishing,
            "broker_ok": health.broker_ok,
            "trouble": word.trouble[:_MAX_TEXT],
        }
    )


def opened_message(opened: Opened) -> bytes:
    """The first batch left, to the service."""
    first = None if opened.first is None else [opened.first.camera, opened.first.ptp_ns]
    return _encode({"type": "opened", "epoch": opened.epoch, "first": first, "at_ns": opened.at_ns})


def recorder_message(word: RecorderWord) -> bytes:
    """A recorder's word, to the service."""
    fields = {name: getattr(word, name) for name in (*_RECORDER_TIMES, "camera", "epoch", "state")}
    return _encode({"type": "recorder", "role": word.role.value, "trouble": word.trouble[:_MAX_TEXT], **fields})


def read_service(data: bytes) -> FromService:
    """What the service says. Raises :class:`LinkFormatError`, and nothing else, whatever the bytes."""
    fields = _decode(data)
    if fields["type"] == "gate":
        return Gate(
            open=_flag(fields, "open"),
            epoch=_count(fields, "epoch"),
            until_ns=_count(fields, "until_ns"),
            role=_role(fields),
            settled=_flag(fields, "settled"),
            covered=_cursors(fields, "covered"),
        )
    if fields["type"] == "event":
        return _event(fields.get("event"))
    raise LinkFormatError(f"the service says {fields['type']!r}")


def read_publisher(data: bytes) -> FromPublisher:
    """What the publisher says. Raises :class:`LinkFormatError`, and nothing else, whatever the bytes."""
    fields = _decode(data)
    if fields["type"] == "pipeline":
        health = Health(
            cameras=_count(fields, "cameras", MAX_CAMERAS),
            clock_ok=_flag(fields, "clock_ok"),
            hot=_flag(fields, "hot"),
            publishing=_flag(fields, "publishing"),
            broker_ok=_flag(fields, "broker_ok"),
        )
        return PublisherWord(Pipeline(health, _cursors(fields, "cursors")), _text(fields, "trouble"))
    if fields["type"] == "opened":
        first = fields.get("first")
        return Opened(_count(fields, "epoch"), None if first is None else _cursor(first), _count(fields, "at_ns"))
    raise LinkFormatError(f"the publisher says {fields['type']!r}")


def read_recorder(data: bytes) -> RecorderWord:
    """What a recorder says. Raises :class:`LinkFormatError`, and nothing else, whatever the bytes."""
    fields = _decode(data)
    if fields["type"] != "recorder" or fields.get("state") not in RECORDER_STATES:
        raise LinkFormatError(f"a recorder says {fields['type']!r}, state {fields.get('state')!r}")
    return RecorderWord(
        camera=_count(fields, "camera", _MAX_CAMERA),
        role=_role(fields),
        epoch=_count(fields, "epoch"),
        state=fields["state"],
        trouble=_text(fields, "trouble"),
        **{name: _count(fields, name) for name in _RECORDER_TIMES},
    )


def _encode(message: Mapping[str, Any]) -> bytes:
    data = _bytes(message)
    if len(data) > MAX_MESSAGE_BYTES:
        raise ValueError(f"link message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES}")
    return data


def _bytes(message: Mapping[str, Any]) -> bytes:
    """At most six bytes a letter, so that 400 of any kind fit; what is no text (of a file's name) becomes "?"."""
    return json.dumps(message, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def _decode(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_MESSAGE_BYTES:
        raise LinkFormatError(f"message of {len(data)} bytes; at most {MAX_MESSAGE_BYTES}")
    try:
        fields = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise LinkFormatError(f"no JSON: {error}") from error
    if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
        raise LinkFormatError("no object with a type")
    return fields


def _pairs(cursors: Sequence[CameraCursor]) -> list[list[int]]:
    return [[cursor.camera, cursor.ptp_ns] for cursor in cursors]


def _flag(fields: Mapping[str, Any], name: str) -> bool:
    value = fields.get(name)
    if not isinstance(value, bool):
        raise LinkFormatError(f"{name} is not true or false")
    return value


def _number(value: object, name: str, limit: int = _MAX_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= limit:
        raise LinkFormatError(f"{name} is not 0..{limit}")
    return value


def _count(fields: Mapping[str, Any], name: str, limit: int = _MAX_COUNT) -> int:
    return _number(fields.get(name), name, limit)


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise LinkFormatError(f"{name} is no text")
    return value[:_MAX_TEXT]


def _role(fields: Mapping[str, Any]) -> Role:
    try:
        return Role(fields.get("role"))
    except ValueError as error:
        raise LinkFormatError("role is neither active nor standby") from error


def _cursor(pair: object) -> CameraCursor:
    if not isinstance(pair, list) or len(pair) != 2:
        raise LinkFormatError("a cursor is [camera, ptp_ns]")
    return CameraCursor(_number(pair[0], "camera", _MAX_CAMERA), _number(pair[1], "ptp_ns"))


def _cursors(fields: Mapping[str, Any], name: str) -> tuple[CameraCursor, ...]:
    pairs = fields.get(name)
    if not isinstance(pairs, list) or len(pairs) > MAX_CAMERAS:
        raise LinkFormatError(f"{name} is no list of at most {MAX_CAMERAS} cursors")
    found = tuple(_cursor(pair) for pair in pairs)
    if len({cursor.camera for cursor in found}) != len(found):
        raise LinkFormatError(f"{name} names a camera twice")
    return found


def _event(value: object) -> NodeEvent:
    if not isinstance(value, dict) or value.get("severity") not in _SEVERITIES:
        raise LinkFormatError(f"an event's severity is one of {', '.join(_SEVERITIES)}")
    detail = value.get("detail", {})
    if not isinstance(detail, dict):
        raise LinkFormatError("an event's detail is an object")
    return NodeEvent(value["severity"], _text(value, "code"), _text(value, "text"), detail)
