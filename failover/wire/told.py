"""A node's last switch, small enough to go along with its beats: so that the twin, and a drill there, knows it too.

| field | bytes |
|---|---|
| epoch | 8 |
| PTP time that the steps count from, ns; 0: unknown | 8 |
| bound of that, ns | 8 |
| trigger | 1 |
| start: 0 the change, 1 the last beat | 1 |
| number of steps | 1 |
| each step: name 1, status 1, begun 4, took 4 (us; 0xFFFFFFFF: none) | 10 |

Names and statuses are places in :data:`STEPS` and :data:`STATUSES`, which may only grow at their ends.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from failover.core.types import Trigger

STEPS: Final = ("detect", "lease", "gate", "address", "announce", "recorder", "event")
STATUSES: Final = ("ok", "failed", "skipped", "waiting", "running")
TRIGGERS: Final = (*(trigger.value for trigger in (Trigger.START, Trigger.SILENCE, Trigger.UNFIT)), "handover", "drill")
STARTS: Final = ("change", "last beat")

HEAD: Final = struct.Struct("<QQQBBB")
STEP: Final = struct.Struct("<BBII")
_NONE: Final = 0xFFFFFFFF
_MAX_NS: Final = 2**63 - 1


@dataclass(frozen=True, slots=True)
class StepTold:
    """One step. Times in us from the report's start; None where it did not begin, or end."""

    step: str
    status: str
    begun_us: int | None
    took_us: int | None


@dataclass(frozen=True, slots=True)
class SwitchTold:
    """A takeover, from :meth:`failover.actions.report.TakeoverReport.document` by :func:`told_of`."""

    epoch: int
    ptp_ns: int
    bound_ns: int
    trigger: str
    start: str
    steps: tuple[StepTold, ...]

    def document(self, node: str) -> dict[str, Any]:
        """As far as it goes the document that it was made of; ``node``: who told it."""
        return {
            "kind": "takeover",
            "node": node,
            "epoch": self.epoch,
            "trigger": self.trigger,
            "start": self.start,
            "ptp_ns": self.ptp_ns,
            "bound_ns": self.bound_ns,
            "steps": [_step_document(one) for one in self.steps],
        }


def told_of(document: Mapping[str, Any]) -> SwitchTold:
    """What is told of a takeover's document."""
    return SwitchTold(
        document["epoch"],
        max(0, document["ptp_ns"]),  # a clock that began in 1970 is known to nobody
        document["bound_ns"],
        document["trigger"],
        document["start"],
        tuple(
            StepTold(one["step"], one["status"], _us(one.get("begun_ms")), _us(one.get("took_ms")))
            for one in document["steps"]
        ),
    )


def encode_told(told: SwitchTold) -> bytes:
    """The body of a ``switch``. Raises ValueError for names that have no place."""
    head = HEAD.pack(
        told.epoch,
        told.ptp_ns,
        told.bound_ns,
        TRIGGERS.index(told.trigger),
        STARTS.index(told.start),
        len(told.steps),
    )
    return head + b"".join(
        STEP.pack(STEPS.index(one.step), STATUSES.index(one.status), _field(one.begun_us), _field(one.took_us))
        for one in told.steps
    )


def decode_told(body: bytes) -> SwitchTold | None:
    """Read a body; None when it is none."""
    if len(body) < HEAD.size:
        return None
    epoch, ptp_ns, bound_ns, trigger, start, count = HEAD.unpack_from(body)
    fits = trigger < len(TRIGGERS) and start < len(STARTS) and count <= len(STEPS)
    if not fits or max(epoch, ptp_ns, bound_ns) > _MAX_NS or len(body) != HEAD.size + count * STEP.size:
        return None
    steps = []
    for name, status, begun_us, took_us in STEP.iter_unpack(body[HEAD.size :]):
        if name >= len(STEPS) or status >= len(STATUSES):
            return None
        steps.append(StepTold(STEPS[name], STATUSES[status], _value(begun_us), _value(took_us)))
    return SwitchTold(epoch, ptp_ns, bound_ns, TRIGGERS[trigger], STARTS[start], tuple(steps))


def _step_document(one: StepTold) -> dict[str, Any]:
    times = {"begun_ms": one.begun_us, "took_ms": one.took_us}
    return {"step": one.step, "status": one.status} | {name: us / 1e3 for name, us in times.items() if us is not None}


def _us(time_ms: float | None) -> int | None:
    return None if time_ms is None else min(_NONE - 1, max(0, round(time_ms * 1e3)))


def _field(us: int | None) -> int:
    return _NONE if us is None else us


def _value(field: int) -> int | None:
    return None if field == _NONE else field
