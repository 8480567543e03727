"""The spool: batches wait on disk until the broker has them, through kill -9, power cuts and a full disk.

Three positions move through the sequence of batches. *read* is what has been handed out; *acknowledged* is the end of
the unbroken run of acknowledged ones; *settled* follows it ``replay_s`` later. Only settled batches are deleted, and
:meth:`Spool.rewind` starts again at *settled*: a broker that crashed may have acknowledged what it then forgot.

Bounds: ``max_bytes`` in all, of which ``memory_bytes`` for batches that the disk refuses. Whatever is dropped is
counted in records by reason. Time is an argument, in ns of the monotonic clock. One owner, one thread.
"""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from pathlib import Path
from typing import Final

from agent.publish.cursor import CursorFile, Mark, read_mark
from agent.publish.folder import own_folder
from agent.publish.ledger import Depth, Ledger
from agent.publish.segment import SUFFIX, Damage, DiskSegment, Entry, MemorySegment, Segment
from agent.publish.spool_settings import NEVER, SEGMENTS, FullPolicy, Quiet, SpoolSettings, SyncPolicy
from agent.publish.sync import InlineSyncer, Syncer, ThreadSyncer
from touchline.record import BatchHeader, RecordError, unpack_batch

_DISK_RETRY_NS: Final = 1_000_000_000
_CURSOR: Final = "cursor"
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
__all__ = ["FullPolicy", "Spool", "SpoolSettings", "SyncPolicy"]
_log = logging.getLogger(__name__)


class Spool:
    """A bounded queue of batches in a folder that one process owns.

    Raises :class:`ResourceError` when the folder cannot be used or another process owns it. Whatever the folder holds
    is opened: :attr:`damage` says what could not be read, :attr:`recovered` what was found waiting.
    ``quiet``: why the disk is to be left alone; while it answers, nothing here is open for writing or deleted.
    """

    def __init__(
        self, folder: Path, settings: SpoolSettings, now_ns: int, *, syncer: Syncer | None = None, quiet: Quiet = NEVER
    ) -> None:
        self.folder = folder
        self.settings = settings
        self.dropped: Counter[str] = Counter()  # records by reason
        self.trouble = ""  # why the disk refuses; empty while it takes batches
        self.damage = Damage()
        self._quiet, self._is_quiet = quiet, False
        self._later: list[DiskSegment] = []  # to be deleted when the disk may be written again
        self._folder_fd = own_folder(folder)
        self._syncer: Syncer = syncer or (ThreadSyncer() if settings.sync == "interval" else InlineSyncer())
        self._ledger = Ledger()
        self._writing: DiskSegment | None = None
        self._next_number = 1
        self._cursor: CursorFile | None = None
        self._disk_retry_ns = self._synced_ns = now_ns
        self._dirty = False
        self._recover(now_ns)
        self.recovered = self.depth

    def append(self, data: bytes, records: int, now_ns: int) -> Entry | None:
        """Put one batch at the end; None when it had to be dropped (counted)."""
        if not self._make_room(len(data)):
            self.dropped["spool_full"] += records
            return None
        if not self._to_disk(data, records, now_ns) and not self._to_memory(data, records):
            self.dropped["disk_full"] += records
            return None
        self._ledger.appended(records, len(data))
        newest = self._ledger.newest
        assert newest is not None
        return newest.entry(len(newest) - 1)

    def tick(self, now_ns: int) -> None:
        """Do what is due: sync, and settle what was acknowledged ``replay_s`` ago. Cheap; call it often."""
        self._heed(now_ns)
        due_ns = self.wake_ns
        if due_ns is not None and now_ns >= due_ns and not self._syncer.busy:
            self._synced_ns = now_ns
            self._sync()
        if (failure := self._syncer.take_failure()) is not None:
            self._refused(failure, now_ns)
        if self._ledger.settle(now_ns, int(self.settings.replay_s * 1e9)):
            self._save_cursor()
            for segment in self._ledger.settled_segments():
                self._remove(segment)

    @property
    def wake_ns(self) -> int | None:
        """When :meth:`tick` has a sync to do; None when there is none to come."""
        if not self._dirty or self.settings.sync != "interval":
            return None
        return self._synced_ns + int(self.settings.sync_interval_ms * 1e6)

    def take(self) -> Entry | None:
        """Hand out the next open batch; each is handed out once until :meth:`rewind`. None when there is no more."""
        return self._ledger.take()

    def read(self, entry: Entry) -> tuple[BatchHeader, bytes] | None:
        """Return header and bytes of a batch, checked; None when it was dropped meanwhile or the disk lost it."""
        segment = self._ledger.segments.get(entry.segment)
        if segment is None:
            return None
        try:
            data = segment.read(entry.index)
            return unpack_batch(data)[0], data
        except (OSError, RecordError) as error:
            _log.error("spool: a batch of %d records is lost on disk: %s", entry.records, error)
            self.discard(entry, "corrupt")
            return None

    def acknowledge(self, entry: Entry) -> None:
        """The broker has this batch. Any order; twice does no harm."""
        self._ledger.acknowledge(entry)

    def discard(self, entry: Entry, reason: str) -> None:
        """Give an open batch up and count its records under ``reason``."""
        if self._ledger.is_open(entry):
            self.dropped[reason] += entry.records
            self._ledger.acknowledge(entry, void=True)

    def rewind(self) -> int:
        """Hand out again from *settled*, after a reconnect; return how many acknowledged batches that repeats."""
        return self._ledger.rewind()

    # -- standby -----------------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Hand out nothing that is appended from now on, until :meth:`release`."""
        self._ledger.hold()

    def release(self, first: Entry | None, *, again: bool = False) -> int:
        """Hand out what was held back, from ``first`` on, then what waits besides; ``again``: from *settled* on.

        Return how many closed batches that repeats.
        """
        return self._ledger.release(first, again=again)

    def cover(self, entry: Entry) -> None:
        """The twin has delivered what is in this batch; in ascending order."""
        self._ledger.cover(entry)

    def is_open(self, entry: Entry) -> bool:
        """Whether a batch is still there and neither acknowledged, covered nor given up."""
        return self._ledger.is_open(entry)

    @property
    def backlog_done(self) -> bool:
        """Whether nothing is open that is older than what :meth:`hold` kept back last."""
        return self._ledger.backlog_done

    @property
    def covered(self) -> Depth:
        """Batches and records that the twin delivered in our place."""
        return Depth(self._ledger.covered_batches, self._ledger.covered_records)

    # -- books -------------------------------------------------------------------------------------------------------

    @property
    def depth(self) -> Depth:
        """What is not acknowledged."""
        return self._ledger.depth

    @property
    def unread(self) -> bool:
        """Whether :meth:`take` has something."""
        return self._ledger.unread

    @property
    def held_bytes(self) -> int:
        """Bytes held, acknowledged ones that wait to be deleted included."""
        return self._ledger.total_bytes

    @property
    def acknowledged(self) -> Depth:
        """Batches and records acknowledged since the spool was opened; a repeat counts once."""
        return Depth(self._ledger.acknowledged_batches, self._ledger.acknowledged_records)

    def close(self) -> None:
        """Sync and let go. What lives only in memory is dropped and counted as disk_full."""
        for segment in list(self._ledger.segments.values()):
            if isinstance(segment, MemorySegment) and (lost := self._ledger.remove(segment)):
                self.dropped["disk_full"] += lost
        try:
            if self._dirty and self.settings.sync != "off":
                self._sync()
            self._syncer.close()
        finally:
            for segment in (*self._ledger.segments.values(), *self._later):
                segment.close()
            if self._cursor is not None:
                self._cursor.close()
            os.close(self._folder_fd)

    # -- opening -----------------------------------------------------------------------------------------------------

    def _recover(self, now_ns: int) -> None:
        self._heed(now_ns)
        if not self._is_quiet:
            self._open_cursor(now_ns)
        mark = (self._cursor.mark if self._cursor else read_mark(self.folder / _CURSOR)) or Mark(0, 0)
        self._next_number = mark.segment + 1
        for path in sorted(p for p in self.folder.glob(f"*{SUFFIX}") if p.stem.isdigit()):
            self._next_number = max(self._next_number, int(path.stem) + 1)
            try:
                self._adopt(path, mark)
            except OSError as error:
                _log.error("spool: cannot read %s: %s", path, error)
        if self.damage != Damage():
            _log.warning("spool: %s held unreadable bytes: %s", self.folder, self.damage)

    def _adopt(self, path: Path, mark: Mark) -> None:
        if int(path.stem) < mark.segment:
            self._delete_now(DiskSegment(int(path.stem), path, -1))
            return
        segment, damage = DiskSegment.recover(path)
        self.damage += damage
        first = segment.index_at(mark.offset) if segment.number == mark.segment else 0
        if first >= len(segment):
            self._delete_now(segment)
        else:
            self._ledger.add(segment, first)

    def _delete_now(self, segment: DiskSegment) -> None:
        if self._is_quiet:
            self._later.append(segment)
        else:
            segment.delete()

    # -- writing -----------------------------------------------------------------------------------------------------

    def _make_room(self, size: int) -> bool:
        while self._ledger.total_bytes + size > self.settings.max_bytes:
            oldest = self._ledger.oldest
            if oldest is None or (self.settings.when_full == "drop-newest" and not self._may_shed(oldest)):
                return False
            if lost := self._remove(oldest):
                if not self.dropped["spool_full"]:
                    _log.error("spool: %s is full; dropping the oldest records", self.folder)
                self.dropped["spool_full"] += lost
        return True

    def _may_shed(self, segment: Segment) -> bool:
        """Whether "drop-newest" gives this up too: what is done, and a standby's copy of what its twin sends."""
        return self._ledger.is_acked(segment) or self._ledger.is_held(segment)

    def _to_disk(self, data: bytes, records: int, now_ns: int) -> bool:
        self._heed(now_ns)
        if self._is_quiet or (self.trouble and now_ns < self._disk_retry_ns):
            return False
        try:
            self._append_or_shed(data, records)
        except OSError as error:
            self._refused(error, now_ns)
            return False
        if self.trouble:
            _log.warning("spool: the disk under %s takes batches again", self.folder)
            self.trouble = ""
        self._dirty = True
        if self.settings.sync == "batch":
            self._sync()
        return True

    def _append_or_shed(self, data: bytes, records: int) -> None:
        """Append; when the disk is full, give up replay of acknowledged batches for the room they take."""
        try:
            self._disk_segment(len(data)).append(data, records)
        except OSError as error:
            acked = self._ledger.acked_segments() if error.errno in _FULL else []
            if not acked:
                raise
            for segment in acked:
                self._remove(segment)
            self._syncer.flush()
            self._disk_segment(len(data)).append(data, records)

    def _to_memory(self, data: bytes, records: int) -> bool:
        if self._memory_left() < len(data):
            for segment in self._ledger.acked_segments():
                if isinstance(segment, MemorySegment):
                    self._remove(segment)
        if self._memory_left() < len(data):
            return False
        newest = self._ledger.newest
        if not isinstance(newest, MemorySegment) or newest.size > self.settings.memory_bytes // SEGMENTS:
            newest = MemorySegment(self._take_number())
            self._ledger.add(newest)
        newest.append(data, records)
        return True

    def _memory_left(self) -> int:
        used = sum(s.size for s in self._ledger.segments.values() if isinstance(s, MemorySegment))
        return self.settings.memory_bytes - used

    def _disk_segment(self, size: int) -> Segment:
        """The file to append to: the present one, or a new one when it is full or was closed by trouble."""
        present = self._writing
        if present is not None and (not present.size or present.size + size <= self.settings.segment_bytes):
            return present
        if self.settings.sync != "off" and self._dirty:
            self._sync()
        if self._cursor is None:
            self._cursor = CursorFile(self.folder / _CURSOR)
        segment = DiskSegment.create(self.folder, self._take_number())
        self._ledger.add(segment)
        self._writing = segment
        if self.settings.sync != "off":
            self._syncer.submit(self._sync_folder)
        return segment

    def _refused(self, error: OSError, now_ns: int) -> None:
        """The disk failed: leave the present file as it is, use memory, look again in a second."""
        if not self.trouble:
            _log.error("spool: cannot write to %s: %s (free space there, or move publish.spool)", self.folder, error)
        self.trouble = error.strerror or str(error)
        self._disk_retry_ns = now_ns + _DISK_RETRY_NS
        if self._writing is not None and not len(self._writing):
            self._remove(self._writing)
        self._writing = None

    # -- a disk that is to become read-only ----------------------------------------------------------------------------

    def _heed(self, now_ns: int) -> None:
        """Hear the disk's guard, and close or open."""
        why = self._quiet(now_ns)
        if why:
            self._hush(why)
        elif self._is_quiet:
            self._is_quiet, self.trouble, self._disk_retry_ns = False, "", now_ns
            _log.warning("spool: the disk under %s may be written again", self.folder)
            self._open_cursor(now_ns)
            if self._ledger.settled > (0, 0):
                self._save_cursor()
            later, self._later = self._later, []
            for segment in later:
                self._delete(segment)

    def _hush(self, why: str) -> None:
        """Nothing of ours stays open for writing; what was written is read on. Called again and again."""
        if not self._is_quiet:
            _log.warning("spool: %s: nothing in %s is written or deleted, batches wait in memory", why, self.folder)
        if self._dirty and self.settings.sync != "off":
            self._sync()
        self._is_quiet, self.trouble, self._writing = True, why, None
        if self._cursor is not None:
            self._syncer.submit(self._cursor.close)
            self._cursor = None
        try:
            for segment in self._ledger.segments.values():
                segment.seal()
        except OSError as error:  # the disk stays busy, and the next call tries again
            self.trouble = f"{why}, and {error}"

    def _open_cursor(self, now_ns: int) -> None:
        try:
            self._cursor = CursorFile(self.folder / _CURSOR)
        except OSError as error:
            self._refused(error, now_ns)

    def _take_number(self) -> int:
        self._next_number += 1
        return self._next_number - 1

    def _remove(self, segment: Segment) -> int:
        """Delete a segment; return how many records in it had never been acknowledged."""
        lost = self._ledger.remove(segment)
        if segment is self._writing:
            self._writing = None
        self._delete(segment)
        return lost

    def _delete(self, segment: Segment) -> None:
        if self._is_quiet and isinstance(segment, DiskSegment):
            self._later.append(segment)
        else:
            self._syncer.submit(segment.delete)

    def _sync(self) -> None:
        self._dirty = False
        if self._writing is not None:
            self._syncer.submit(self._writing.sync)

    def _sync_folder(self) -> None:
        os.fsync(self._folder_fd)

    def _save_cursor(self) -> None:
        """Write *settled* down. A failure costs repeats after a restart, nothing else."""
        number, index = self._ledger.settled
        segment = self._ledger.segments.get(number)
        offset = segment.offset(index) if segment is not None else 0
        if segment is None:
            number += 1
        if self._cursor is not None:
            try:
                self._cursor.write(Mark(number, offset))
            except OSError as error:
                _log.warning("spool: cannot save the cursor in %s: %s", self.folder, error)
