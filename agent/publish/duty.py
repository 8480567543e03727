"""What this node has to deliver: numbers and spools the batches, holds a standby's back, knows what is at the rack.

While the gate is shut, records carry the flag "from standby" and are the twin's to deliver (*held*): what lies before
its cursor is closed as *covered*, the rest leaves when the gate opens. What was spooled while the gate was open stays
this node's, whatever happens to its role.

A standby numbers its batches under a boot id of its own, so that what its twin delivers leaves no hole in the numbers
that the rack could take for a loss: of each such id it sees one unbroken run.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from agent.publish.frontier import Frontier, Spans, spans_of
from agent.publish.gate import Gatekeeper, Leave
from agent.publish.segment import Entry
from agent.publish.spool import Spool
from failover.core.types import Gate, Role
from failover.link import Opened
from touchline.record import BatchHeader, Flag, pack_batch, with_epoch

UNCLAIMED: Final = "unclaimed"  # dropped: the twin, being active, never had these frames
HOLE_NS: Final = 1_000_000_000  # the cursors stand so long after a drop of ours; see Frontier.hear for what it tells
_SERIES_BYTES: Final = 4  # of the boot id
_SERIES_BATCHES: Final = 4096  # a standby begins a new one so often: what it never sends is no long prefix
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Look:
    """One frame that came through the pipeline: camera, its own frame number, exposure (TAI ns)."""

    camera: int
    frame: int
    ptp_ns: int


class _Series:
    """Numbers of batches and records under one boot id."""

    def __init__(self, boot_id: bytes) -> None:
        self.boot_id = boot_id
        self.batches = self.records = 0

    def header(self, node: str, epoch: int, count: int) -> BatchHeader:
        """The header of the next batch."""
        header = BatchHeader(node, self.boot_id, epoch, self.batches, self.records, count)
        self.batches += 1
        self.records += count
        return header

    def next(self) -> _Series:
        """Numbers that begin anew."""
        number = int.from_bytes(self.boot_id[-_SERIES_BYTES:], "little") + 1
        tail = (number % 2 ** (8 * _SERIES_BYTES)).to_bytes(_SERIES_BYTES, "little")
        return _Series(self.boot_id[:-_SERIES_BYTES] + tail)


class Duty:
    """One node's spool under one gate. Times are ns of the monotonic clock; ``gated``: there is a failover service."""

    def __init__(self, spool: Spool, node: str, boot_id: bytes, *, epoch: int, gated: bool = False) -> None:
        self.spool = spool
        self.node = node
        self.keeper = Gatekeeper(epoch, gated=gated)
        self.frontier = Frontier()
        self.queued = self.queued_batches = self.held_batches = self.doubts = 0
        self.opened: Opened | None = None  # to be told to the service; the owner takes it
        self._gated = gated
        self._series = _Series(boot_id)
        self._held = False
        self._dropped = self.spool.dropped.total()
        self._hole_until_ns = 0
        self._opening = False  # the gate opened, and nothing has left since
        self._epoch: int | None = None
        self._connected_ns: int | None = None
        if gated:
            self._hold()

    @property
    def role(self) -> Role:
        """What this node is: active only as far as its gate is open, or has just run out."""
        return Role.STANDBY if self._held else self.keeper.role

    # -- what happens ------------------------------------------------------------------------------------------------

    def hear(self, gate: Gate, now_ns: int) -> None:
        """The service's word."""
        self.keeper.hear(gate, now_ns)
        was_held = self._held
        if was_held:
            self._cover(gate, now_ns)
        self.attend(now_ns)
        if self._held and not was_held:
            self._cover(gate, now_ns)

    def attend(self, now_ns: int) -> None:
        """See whether time has shut the gate, or a word opened it."""
        if not self._gated:
            return
        if self.keeper.is_open(now_ns):
            if self._held:
                self._release(now_ns)
            if self._epoch != self.keeper.epoch:
                self._epoch, self._opening = self.keeper.epoch, True
        elif not self._held and self.keeper.is_standby(now_ns):
            self._hold()
            self._epoch, self._opening = None, False

    def connected(self, now_ns: int) -> int:
        """A broker took us anew: go back to *settled*; return how many batches that repeats."""
        self._connected_ns = now_ns
        return self.spool.rewind()

    def looked(self, look: Look, now_ns: int, *, empty: bool) -> None:
        """A frame came through the pipeline; ``empty``: it shows nobody, and none of its camera waits in the window."""
        if not self._gated:
            return
        self.attend(now_ns)
        self.frontier.looked(look.camera, look.frame, look.ptp_ns, now_ns)
        if not empty or self._held or not self.keeper.is_open(now_ns):
            return
        if self.spool.backlog_done:
            self.frontier.empty(look.camera, look.ptp_ns)
        if self._opening and not self.spool.unread:
            self._opening, self.opened = False, Opened(self.keeper.epoch, None, now_ns)

    def enqueue(self, records: NDArray[np.void], now_ns: int) -> None:
        """Pack a batch into the spool."""
        self.attend(now_ns)
        count = len(records)
        if self._held:
            records = records.copy()
            records["flags"] |= np.uint8(Flag.FROM_STANDBY)
            self.held_batches += 1
            if self._series.batches >= _SERIES_BATCHES:
                self._series = self._series.next()
        header = self._series.header(self.node, 0 if self._held else self.keeper.epoch, count)
        self.queued += count
        self.queued_batches += 1
        entry = self.spool.append(pack_batch(header, records), count, now_ns)
        if entry is not None and self._gated:
            self.frontier.spooled(entry, _spans(records))

    def acknowledged(self, now_ns: int) -> None:
        """PUBACKs came: see how far the cursors may go.

        Batches that were dropped here look closed too, and the twin may have them whole. So after a drop the cursors
        stand for ``HOLE_NS`` and then go on in one step, which the twin takes for what it is: it delivers its own.
        """
        if not self._gated or self._held or not self.spool.backlog_done:
            return
        dropped = self.spool.dropped.total()
        if dropped != self._dropped:
            self._dropped, self._hole_until_ns = dropped, now_ns + HOLE_NS
        if now_ns >= self._hole_until_ns:
            self.frontier.advance(self.spool.is_open, deliver=True)

    # -- what may leave ----------------------------------------------------------------------------------------------

    def may_leave(self, now_ns: int) -> bool:
        """Whether the spool's next batch may leave at this moment: a standby's spool hands out nothing but its own."""
        return self.keeper.may_leave(now_ns) is not Leave.NOTHING

    def to_send(self, header: BatchHeader, data: bytes, now_ns: int) -> bytes:
        """The bytes of a batch as they leave now."""
        epoch = self.keeper.epoch_of(header.epoch, now_ns)
        return data if epoch == header.epoch else with_epoch(data, epoch)

    @property
    def opening(self) -> bool:
        """Whether the gate opened and nothing has left since; then :meth:`left` wants to know of the first batch."""
        return self._opening

    def left(self, entry: Entry, now_ns: int) -> None:
        """The first batch since the gate opened is on its way."""
        self._opening, self.opened = False, Opened(self.keeper.epoch, self.frontier.first_of(entry), now_ns)

    def snapshot(self, now_ns: int) -> dict[str, Any] | None:
        """For health and metrics; None without failover."""
        if not self._gated:
            return None
        age_ns = self.frontier.cursor_age_ns()
        return {
            "role": self.role.value,
            "epoch": self.keeper.epoch,
            "open": self.keeper.is_open(now_ns),
            "held_batches": self.held_batches,
            "doubts": self.doubts,
            "covered": self.spool.covered.records,
            "covered_batches": self.spool.covered.batches,
            "cursor_age_ms": None if age_ns is None else round(age_ns / 1e6, 1),
        }

    # -- inside ------------------------------------------------------------------------------------------------------

    def _hold(self) -> None:
        """What is spooled from now on is the twin's to deliver, what was spooled till now is ours."""
        self._held = True
        self.spool.hold()
        self.frontier.forget()
        if self._series.batches:
            self._series = self._series.next()

    def _release(self, now_ns: int) -> None:
        """All that is held leaves; with what the twin is said to have delivered if the broker may have forgotten it."""
        replay_ns = int(self.spool.settings.replay_s * 1e9)
        again = self._connected_ns is not None and now_ns - self._connected_ns < replay_ns
        self._held = False
        self._dropped = self.spool.dropped.total()
        self.spool.release(self.frontier.first, again=again)
        if self.keeper.role is Role.ACTIVE:
            _log.info("gate open under epoch %d; %d batches wait", self.keeper.epoch, self.spool.depth.batches)

    def _cover(self, gate: Gate, now_ns: int) -> None:
        if self.frontier.hear(gate.covered, now_ns):
            self.doubts += 1  # what is held becomes ours to deliver; the rack knows a frame that it has
            self._hold()
            return
        self.frontier.advance(self.spool.is_open, deliver=False)
        for entry, unclaimed in self.frontier.take_covered():
            if unclaimed:
                self.spool.discard(entry, UNCLAIMED)
            else:
                self.spool.cover(entry)


def _spans(records: NDArray[np.void]) -> Spans:
    cameras, exposures = records["camera"], records["ptp_ns"]
    if exposures[0] == exposures[-1] and cameras[0] == cameras[-1] and (exposures == exposures[0]).all():
        return ((int(cameras[0]), int(exposures[0])),)  # one frame: the usual case
    return spans_of(cameras.tolist(), exposures.tolist())
