"""The ring itself: creates or opens the shared memory and the hand-over descriptors; says what it holds."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import mmap
import os
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.ring import layout, memory
from agent.ring.core import MAX_READERS, RingSpec
from agent.ring.ledger import Books, RingLedger
from agent.ring.memory import LockPolicy
from touchline.errors import ConfigError, InputError

_LOG: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RingFds:
    """The descriptors that are the ring: hand them to a child with ``pass_fds=fds.all()`` and ``fds.to_text()``."""

    memfd: int
    events: tuple[int, ...]

    def all(self) -> tuple[int, ...]:
        """Return every descriptor, for ``subprocess.Popen(pass_fds=...)``."""
        return (self.memfd, *self.events)

    def to_text(self) -> str:
        """Return a form for an argument or an environment variable, as ``5:6,7``."""
        return f"{self.memfd}:{','.join(map(str, self.events))}"

    @staticmethod
    def from_text(text: str) -> RingFds:
        """Read :meth:`to_text`'s form.

        Raises:
            InputError: the text is not of that form.
        """
        try:
            memfd, _, events = text.partition(":")
            return RingFds(int(memfd), tuple(int(event) for event in events.split(",")))
        except ValueError as error:
            raise InputError(f"ring descriptors {text!r} are not of the form 5:6,7") from error


class Ring:
    """A frame ring in a sealed memory file. Made by :meth:`create` in the parent, opened by :meth:`attach` in children.

    Attributes:
        spec: its size, as recorded in its header.
        notes: what had to be done without (no memory lock, no huge pages), one line each.
    """

    def __init__(self, fds: RingFds, spec: RingSpec, page_bytes: int, notes: tuple[str, ...] = ()) -> None:
        self.spec = spec
        self.notes = notes
        self.page_bytes = page_bytes
        self._fds = fds
        self._control_bytes = layout.control_bytes(spec, page_bytes)
        self._total_bytes = layout.total_bytes(spec, page_bytes)
        self._mappings: list[mmap.mmap] = []
        self._control = memory.map_shared(fds.memfd, self._control_bytes, 0, writable=True, populate=True)
        self.control = memoryview(self._control)
        self.words = self.control.cast("Q")
        self._books = Books(self.control, spec.readers)
        self._closed = False

    @staticmethod
    def create(spec: RingSpec, lock: LockPolicy = "required", hugepages: bool = False) -> Ring:
        """Make a new ring, all of its memory present and, by policy, locked (CAP-3).

        Args:
            spec: its size.
            lock: ``required`` refuses an unlocked ring, ``auto`` falls back and notes it, ``off`` does not try.
            hugepages: use 2 MiB pages where enough are free, else fall back and note it.

        Raises:
            ResourceError: more memory than the machine or the lock limit has.
            ConfigError: ``lock`` is no policy.
        """
        if lock not in ("required", "auto", "off"):
            raise ConfigError(f"ring.lock is {lock!r}", hint='use "required", "auto" or "off"')
        memfd, page_bytes, notes = _open_memory(spec, hugepages)
        events: list[int] = []
        try:
            total = layout.total_bytes(spec, page_bytes)
            locked = None if lock == "off" else _lock(memfd, total, spec, lock, notes)
            memory.allocate(memfd, total)
            events += [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(spec.readers)]
            ring = Ring(RingFds(memfd, tuple(events)), spec, page_bytes, tuple(notes))
        except BaseException:  # also KeyboardInterrupt: nobody else knows these descriptors; close them, then re-raise
            for fd in (memfd, *events):
                os.close(fd)
            raise
        if locked is not None:
            ring._mappings.append(locked)
        ring._write_identity(locked=locked is not None)
        for note in notes:
            _LOG.warning("ring: %s", note)
        return ring

    @staticmethod
    def attach(fds: RingFds) -> Ring:
        """Open a ring from inherited descriptors; the ring owns them from now on.

        Raises:
            InputError: they are not a ring, or a ring of another layout.
        """
        spec, page_bytes = _read_identity(fds)
        return Ring(fds, spec, page_bytes)

    def fds(self) -> RingFds:
        """Return the descriptors, to be handed to children."""
        return self._fds

    @property
    def locked(self) -> bool:
        """Whether the creator locked the ring into RAM."""
        return bool(self.words[layout.word_of(layout.IDENTITY, "locked", 0)])

    def map_payload(self, *, writable: bool) -> list[memoryview]:
        """Map the payload region and return one view of ``slot_bytes`` per slot; a reader's views are read-only."""
        size = self._total_bytes - self._control_bytes
        mapping = memory.map_shared(self._fds.memfd, size, self._control_bytes, writable=writable, populate=True)
        self._mappings.append(mapping)
        whole = memoryview(mapping)
        stride = layout.stride_bytes(self.spec)
        return [whole[i * stride : i * stride + self.spec.slot_bytes] for i in range(self.spec.slots)]

    def seconds_at(self, rate_hz: float) -> float:
        """Return how many seconds of frames the ring holds at ``rate_hz`` (CAP-2)."""
        return self.spec.seconds_at(rate_hz)

    def describe(self, rate_hz: float) -> str:
        """Return one line for people: slots, bytes, seconds at ``rate_hz``, guard band, lock, pages, and the notes."""
        spec = self.spec
        pages = "2 MiB" if self.page_bytes == memory.HUGE_PAGE_BYTES else f"{self.page_bytes // 1024} KiB"
        text = (
            f"ring: {spec.slots} slots x {spec.slot_bytes:,} B = {self._total_bytes / 1e9:.3f} GB, "
            f"{self.seconds_at(rate_hz):.2f} s at {rate_hz:g} frames/s, "
            f"guard {spec.guard_slots} slots ({spec.guard_slots / rate_hz * 1e3:.1f} ms), "
            f"{'locked' if self.locked else 'not locked'}, {pages} pages, {spec.readers} readers"
        )
        return "; ".join([text, *self.notes])

    def ledger(self) -> RingLedger:
        """Return the counters of writer and readers, without asking their processes."""
        return self._books.read_all()

    def close(self) -> None:
        """Unmap and close the descriptors. Views that a caller still holds keep their memory until dropped."""
        if self._closed:
            return
        self._closed = True
        del self._books
        for view in (self.words, self.control):
            with contextlib.suppress(BufferError):
                view.release()
        for mapping in (self._control, *self._mappings):
            with contextlib.suppress(BufferError):
                mapping.close()
        self._mappings.clear()
        for fd in self._fds.all():
            os.close(fd)

    def _write_identity(self, *, locked: bool) -> None:
        identity = np.frombuffer(self.control, layout.IDENTITY, 1)
        values = {
            "version": layout.LAYOUT_VERSION,
            "layout_hash": layout.layout_hash(),
            "slots": self.spec.slots,
            "slot_bytes": self.spec.slot_bytes,
            "stride_bytes": layout.stride_bytes(self.spec),
            "readers": self.spec.readers,
            "guard_slots": self.spec.guard_slots,
            "page_bytes": self.page_bytes,
            "control_bytes": self._control_bytes,
            "locked": int(locked),
            "magic": layout.MAGIC,
        }
        for name, value in values.items():
            identity[name] = value


def _open_memory(spec: RingSpec, hugepages: bool) -> tuple[int, int, list[str]]:
    """Return (memfd, page size in bytes, notes) of a file large enough, nothing of it touched yet."""
    notes: list[str] = []
    if hugepages:
        size = layout.total_bytes(spec, memory.HUGE_PAGE_BYTES)
        pages, free = size // memory.HUGE_PAGE_BYTES, memory.free_huge_pages()
        if free >= pages:
            with contextlib.suppress(OSError):
                return memory.open_memfd(size, huge=True), memory.HUGE_PAGE_BYTES, notes
        notes.append(f"no huge pages: {pages} of 2 MiB needed, {free} free (sysctl vm.nr_hugepages={pages})")
    size = layout.total_bytes(spec, mmap.PAGESIZE)
    memory.check_room(size, spec.slots, memory.available_bytes())
    return memory.open_memfd(size, huge=False), mmap.PAGESIZE, notes


def _lock(memfd: int, total: int, spec: RingSpec, policy: LockPolicy, notes: list[str]) -> mmap.mmap | None:
    """Return a locked mapping of the whole ring, which must stay mapped; None after falling back."""
    mapping = memory.map_shared(memfd, total, 0, writable=True, populate=False)
    cause = memory.lock_memory(mapping, total)
    if cause is None:
        return mapping
    mapping.close()
    refusal = memory.lock_refusal(total, spec.slots, cause)
    if policy == "required":
        raise refusal
    notes.append(f"not locked: {refusal.message}")
    return None


def _read_identity(fds: RingFds) -> tuple[RingSpec, int]:
    """Return (spec, page size) from a ring's header after checking that it is one of ours.

    Raises:
        InputError: it is not.
    """
    try:
        size = os.fstat(fds.memfd).st_size
        seals = fcntl.fcntl(fds.memfd, fcntl.F_GET_SEALS)
        head = os.pread(fds.memfd, layout.IDENTITY.itemsize, 0)
    except OSError as error:
        raise InputError(f"descriptor {fds.memfd} is not a ring: {error.strerror}") from error
    if len(head) < layout.IDENTITY.itemsize or seals & memory.SEALS != memory.SEALS:
        raise InputError(f"descriptor {fds.memfd} is not a ring: not a sealed memory file")
    identity = np.frombuffer(head, layout.IDENTITY, 1)[0]
    if int(identity["magic"]) != layout.MAGIC:
        raise InputError(f"descriptor {fds.memfd} is not a ring: wrong magic")
    if int(identity["layout_hash"]) != layout.layout_hash():
        raise InputError("the ring has another layout", hint="start all processes from the same version")
    names = ("slots", "slot_bytes", "readers", "guard_slots")
    spec = RingSpec(**{name: int(identity[name]) for name in names})
    page_bytes = int(identity["page_bytes"])
    if size != layout.total_bytes(spec, page_bytes) or not len(fds.events) == spec.readers <= MAX_READERS:
        raise InputError(f"the ring's header does not fit its {size} bytes and {len(fds.events)} event descriptors")
    return spec, page_bytes
