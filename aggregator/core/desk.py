"""The rack's whole decision about one message: refuse, drop as re-delivered or twin's copy, park, or take.

Pure: bytes and times in, an :class:`Outcome` out. The order matters: checks first, then record numbers (re-delivery),
then frames (twins), so that every number that was seen is remembered, whatever became of its record.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from aggregator.core.accept import Acceptor, Exposure, OwnerChange, Verdict
from aggregator.core.dedupe import Deduper, SourceKey, Span
from aggregator.core.validate import (
    Batch,
    Document,
    Limits,
    Reason,
    Refusal,
    check_message,
    finite_mask,
)
from touchline.record import BatchHeader, Flag

_RETIRED: Final = "the node had receive.max_starts newer ones since"


@dataclass(frozen=True, slots=True)
class Taken:
    """Records to store: ``numbers`` (n,) int64 and ``records`` (n,) of one source."""

    source: SourceKey
    epoch: int
    numbers: NDArray[np.int64]
    records: NDArray[np.void]


@dataclass(slots=True)
class Parked:
    """A twin's frame that waits for the owner's copy until ``due_ns`` (monotonic)."""

    ident: int
    exposure: Exposure
    due_ns: int
    taken: Taken


@dataclass(slots=True)
class Outcome:
    """What one message (or one tick of the clock) led to."""

    refusal: Refusal | None = None
    document: Document | None = None
    header: BatchHeader | None = None
    taken: list[Taken] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    unparked: list[Parked] = field(default_factory=list)
    owner_changes: list[OwnerChange] = field(default_factory=list)
    redelivered: int = 0
    twin_copies: int = 0
    non_finite: int = 0
    unflagged: int = 0  # new records whose node did not vouch for their time


def frame_groups(records: NDArray[np.void]) -> list[tuple[Exposure, NDArray[np.intp]]]:
    """Split records into camera frames: each with the indices of its records, ascending in (camera, exposure)."""
    if not len(records):
        return []
    all_camera, all_ptp = records["camera"], records["ptp_ns"]
    if (all_ptp == all_ptp[0]).all() and (all_camera == all_camera[0]).all():  # one frame a batch is the usual case
        return [(_exposure_of(records[0]), np.arange(len(records)))]
    order = np.lexsort((all_ptp, all_camera))
    camera, ptp = all_camera[order], all_ptp[order]
    cuts = np.flatnonzero((camera[1:] != camera[:-1]) | (ptp[1:] != ptp[:-1])) + 1
    groups = []
    for indices in np.split(order, cuts):
        groups.append((_exposure_of(records[indices[0]]), np.sort(indices)))
    return groups


def _exposure_of(record: np.void) -> Exposure:
    return Exposure(int(record["camera"]), int(record["frame"]), int(record["ptp_ns"]))


class Desk:
    """Holds the de-duplicator, the acceptor and the parked frames; see the module's text.

    ``park_ns``: how long a twin's frame waits. ``max_parked``: parked frames at most; beyond it the oldest is settled.
    """

    def __init__(
        self,
        deduper: Deduper,
        acceptor: Acceptor,
        limits: Limits,
        park_ns: int = 1_000_000_000,
        max_parked: int = 20_000,
    ) -> None:
        self.deduper = deduper
        self.acceptor = acceptor
        self._limits = limits
        self._park_ns = park_ns
        self._max_parked = max_parked
        self._parked: dict[int, Parked] = {}
        self._next_ident = 1

    @property
    def parked_frames(self) -> int:
        """Twin's frames that wait."""
        return len(self._parked)

    def message(self, topic: str, payload: bytes, now_ns: int) -> Outcome:
        """Decide about one message; never raises, whatever the bytes."""
        checked = check_message(topic, payload, self._limits)
        if isinstance(checked, Refusal):
            return Outcome(refusal=checked)
        if isinstance(checked, Document):
            return Outcome(document=checked)
        return self._batch(checked, now_ns)

    def _batch(self, batch: Batch, now_ns: int) -> Outcome:
        header = batch.header
        source = (header.node, header.boot_id)
        if self.deduper.is_retired(source):
            text = f"start {header.boot_id.hex()[:8]}, {header.count} records: {_RETIRED}"
            return Outcome(refusal=Refusal(Reason.START_RETIRED, header.node, text))
        outcome = Outcome(header=header)
        spans = self.deduper.observe(source, header.first_record, header.count, now_ns)
        numbers = _numbers(spans)
        outcome.redelivered = header.count - len(numbers)
        records = batch.records[numbers - header.first_record]
        finite = finite_mask(records)
        outcome.non_finite = int(len(records) - finite.sum())
        if outcome.non_finite:
            outcome.refusal = Refusal(Reason.NON_FINITE, header.node, f"{outcome.non_finite} records")
            numbers, records = numbers[finite], records[finite]
        outcome.unflagged = int(np.count_nonzero(records["flags"] & Flag.CLOCK_IN_BOUND == 0))
        self._judge(Taken(source, header.epoch, numbers, records), now_ns, outcome)
        return outcome

    def _judge(self, fresh: Taken, now_ns: int, outcome: Outcome) -> None:
        groups = frame_groups(fresh.records)
        if not groups:
            return
        node = fresh.source[0]
        exposures = [exposure for exposure, _ in groups]
        verdicts, outcome.owner_changes = self.acceptor.judge(exposures, node, fresh.epoch, now_ns)
        take: list[NDArray[np.intp]] = []
        for (exposure, indices), verdict in zip(groups, verdicts, strict=True):
            if verdict is Verdict.TAKE:
                take.append(indices)
            elif verdict is Verdict.TWIN:
                outcome.twin_copies += len(indices)
            else:
                part = Taken(fresh.source, fresh.epoch, fresh.numbers[indices], fresh.records[indices])
                outcome.parked.append(self._park(exposure, part, now_ns))
        if take:
            chosen = np.sort(np.concatenate(take))
            outcome.taken.append(Taken(fresh.source, fresh.epoch, fresh.numbers[chosen], fresh.records[chosen]))

    def _park(self, exposure: Exposure, part: Taken, now_ns: int) -> Parked:
        parked = Parked(self._next_ident, exposure, now_ns + self._park_ns, part)
        self._next_ident += 1
        self._parked[parked.ident] = parked
        return parked

    def tick(self, now_ns: int) -> Outcome:
        """Settle the parked frames whose wait is over, or that are too many."""
        outcome = Outcome()
        for parked in list(self._parked.values()):  # in order of arrival, so of due time
            if parked.due_ns > now_ns and len(self._parked) <= self._max_parked:
                break
            del self._parked[parked.ident]
            outcome.unparked.append(parked)
            if self.acceptor.settle(parked.exposure, parked.taken.source[0]) is Verdict.TAKE:
                outcome.taken.append(parked.taken)
            else:
                outcome.twin_copies += len(parked.taken.records)
        return outcome

    def restore_parked(self, exposure: Exposure, part: Taken, ident: int, now_ns: int) -> None:
        """Take one parked frame from the store; its wait begins again."""
        self._parked[ident] = Parked(ident, exposure, now_ns + self._park_ns, part)
        self._next_ident = max(self._next_ident, ident + 1)


def _numbers(spans: list[Span]) -> NDArray[np.int64]:
    if not spans:
        return np.empty(0, np.int64)
    return np.concatenate([np.arange(start, end, dtype=np.int64) for start, end in spans])
