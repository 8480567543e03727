"""The actions of a node's role, for the service's loop: give it the core's words, wait on its descriptors, serve it.

    actions = Actions(Parts(settings, ...))
    for fd in actions.filenos(): selector.register(fd, EVENT_READ, ...)
    # after the core's step:       actions.exclusive(action) / actions.changed(action), then actions.serve(now_ns)
    # the publisher's word:        actions.opened(epoch, at_ns, text)
    # a recorder's word, a descriptor or next_ns:     actions.serve(now_ns)

What may block, the address, runs in a thread. Nothing here raises.
"""

from __future__ import annotations

import errno
import select
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from failover.actions.address import Held, IPInterface, VirtualAddress
from failover.actions.announce import BURST_MS, TAIL_MS, Announcement, PacketSocket, frames
from failover.actions.keeper import AddressKeeper
from failover.actions.report import TakeoverReport
from failover.actions.sequence import Outcome, Start, Takeover, release_steps, takeover_steps
from failover.actions.worker import Done, Worker, code_of
from failover.core.types import Changed, Exclusive, Note, Role, Settings
from touchline.errors import TouchlineError
from touchline.timeline import Stamp, monotonic_ns

_NO_EXCLUSIVE: Final = "without a lease or a promise only records go on"


@dataclass(frozen=True, slots=True)
class Parts:
    """What the actions are made of. A part that is None is skipped, with that as the reason.

    ``recorder``: must not block; how far the recorders are with a change that began at the first time, as of the
    second. ``event``: must not block; gets a report's document. ``finished``: gets each closed report. ``noted``: what
    is worth an event, and its line in the log. ``stamp``: PTP time of a reading of CLOCK_MONOTONIC. ``priority``:
    SCHED_FIFO of the address's thread, 0: none.
    """

    settings: Settings
    address: VirtualAddress | None = None
    gate: bool = True  # there is a publisher that says when its first batch left
    recorder: Callable[[Changed, int, int], Outcome] | None = None
    event: Callable[[dict[str, Any]], None] | None = None
    finished: Callable[[TakeoverReport], None] = lambda report: None
    noted: Callable[[Note], None] = lambda note: None
    stamp: Callable[[int], Stamp] | None = None
    priority: int = 0


class Actions:
    """See the module. One thread."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._keeper = AddressKeeper()
        self._network = Worker("failover-address", parts.priority)
        self._current: Takeover | None = None
        self._fresh = False
        self._announcement: Announcement | None = None
        self._frames: tuple[bytes, ...] = ()
        self._socket: PacketSocket | None = None
        self._trouble: dict[str, str] = {}

    def filenos(self) -> tuple[int, ...]:
        """Descriptors that are readable when :meth:`serve` has work."""
        return (self._network.fileno(),)

    @property
    def holds_address(self) -> bool:
        """Whether the last renewal said so."""
        return self._announcement is not None

    def exclusive(self, action: Exclusive) -> None:
        """The core's word on what only one may have."""
        self._keeper.exclusive(action.hold, action.until_ns)
        if not action.hold:
            self._announcement = None
            self._address_job(monotonic_ns())  # at once: the thread drops it while the loop goes on

    def changed(self, action: Changed, now_ns: int) -> None:
        """The core's word on the role: a new sequence begins, an unfinished one is closed."""
        self._close(now_ns, early=True)
        settings, stamp = self._parts.settings, None
        if self._parts.stamp is not None:
            stamp = self._parts.stamp(now_ns)
        start = Start(
            settings.node, settings.twin, now_ns, stamp.ptp_ns if stamp else 0, stamp.bound_ns if stamp else 0
        )
        plan = takeover_steps(settings) if action.role is Role.ACTIVE else release_steps()
        self._current, self._fresh = Takeover(action, start, plan), True

    def opened(self, epoch: int, at_ns: int, text: str = "") -> None:
        """The publisher's word: its first batch under ``epoch`` left at ``at_ns`` (CLOCK_MONOTONIC)."""
        current = self._current
        if current is not None and current.change.role is Role.ACTIVE and current.change.epoch == epoch:
            current.end("gate", at_ns, detail=text)

    def next_ns(self, now_ns: int) -> int | None:
        """When :meth:`serve` is to be called at the latest; None: only for a descriptor or a word."""
        times = [self._keeper.next_ns(now_ns)] if self._parts.address is not None else []
        times.append(self._announcement.next_ns if self._announcement else None)
        times.append(self._current.give_up_ns if self._current else None)
        known = [one for one in times if one is not None]
        return max(now_ns, min(known)) if known else None

    def serve(self, now_ns: int) -> None:
        """Do what is due, and take the results of what ended. Never blocks, never raises."""
        if self._fresh:
            self._begin(now_ns)
        for done in self._network.results():
            self._ended(done, now_ns)
        self._look_at_recorder(now_ns)
        if not self._keeper.may_hold(now_ns):
            self._announcement = None
        self._address_job(now_ns)
        self._announce(now_ns)
        self._close(now_ns)

    def await_dropped(self, most_ns: int) -> bool:
        """Wait until the address is certainly not held; the lease is given back only then. False: not in time."""
        until_ns = monotonic_ns() + most_ns
        while self._parts.address is not None and not self._keeper.settled:
            now_ns = monotonic_ns()
            if now_ns >= until_ns:
                return False
            self.serve(now_ns)
            select.select([self._network.fileno()], [], [], (until_ns - now_ns) / 1e9)
        return True

    def close(self) -> None:
        """Give the address back and end the threads; a hung one is left to the kernel's fence."""
        self.exclusive(Exclusive(False, 0, 0))
        self._network.close()
        if self._socket is not None:
            self._socket.close()

    def _begin(self, now_ns: int) -> None:
        """Start every step of a new sequence that has not to wait for another one."""
        self._fresh = False
        current = self._current
        if current is None:
            return
        taking = current.change.role is Role.ACTIVE
        alone = taking and not self._keeper.wanted
        if self._parts.gate:
            current.begin("gate", current.start.now_ns)
        else:
            current.skip("gate", "no publisher is attached")
        if self._parts.address is None:
            current.skip("address", "no [failover] address is set")
            current.skip("announce", "no [failover] address is set")
        elif alone:
            current.skip("address", _NO_EXCLUSIVE)
            current.skip("announce", _NO_EXCLUSIVE)
        elif not taking and self._keeper.settled:
            current.skip("address", "was not held")
        else:
            current.begin("address", now_ns)
        if self._parts.recorder is None:
            current.skip("recorder", "no [record] is set")
        else:
            current.begin("recorder", current.start.now_ns)

    def _look_at_recorder(self, now_ns: int) -> None:
        """Whether the recording goes on; one that has not said so in time has failed, with what it waits for."""
        current, recorder = self._current, self._parts.recorder
        if current is None or recorder is None or not current.pending("recorder"):
            return
        found = recorder(current.change, current.start.now_ns, now_ns)
        if found.code is not None:
            current.end("recorder", found.at_ns, code=found.code, detail=found.text)
        elif now_ns >= current.give_up_ns:
            current.end("recorder", now_ns, code=errno.ETIMEDOUT, detail=found.text)

    def _address_job(self, now_ns: int) -> None:
        address, keeper = self._parts.address, self._keeper
        job = keeper.due(now_ns) if address is not None else None
        if address is None or job is None:
            return

        def hold() -> Held | None:
            return address.hold() if keeper.may_hold(monotonic_ns()) else None

        def drop() -> tuple[IPInterface, ...]:
            return address.drop()

        if not self._network.submit(job, hold if job == "hold" else drop):
            keeper.done(job, False, now_ns)

    def _ended(self, done: Done, now_ns: int) -> None:
        if done.name == "hold":
            lapsed = done.ok and done.value is None  # the lease ended before the kernel could be asked
            self._keeper.done("hold", done.ok and not lapsed, now_ns)
            if not lapsed:
                self._address_held(done, now_ns)
        elif done.name == "drop":
            self._keeper.done("drop", done.ok, now_ns)
            self._address_dropped(done)

    def _address_held(self, done: Done, now_ns: int) -> None:
        current = self._current if self._current and self._current.change.role is Role.ACTIVE else None
        text = done.value.text() if isinstance(done.value, Held) else done.text
        self._tell_trouble("address", "" if done.ok else text)
        if not self._keeper.may_hold(now_ns):
            return
        if current is not None:
            current.end("address", done.ended_ns, code=done.code, detail=text)
        if not isinstance(done.value, Held):
            self._announcement = None
            if current is not None:
                current.skip("announce", "the address is not held: announcing it would lead nowhere")
            return
        if self._announcement is None or done.value.new:
            self._frames = ()
            self._announcement = Announcement(now_ns)
            self._prepare(done.value, now_ns)

    def _address_dropped(self, done: Done) -> None:
        self._tell_trouble("address", done.text)
        current = self._current
        if current is not None and current.change.role is not Role.ACTIVE:
            words = ", ".join(f"{one} dropped" for one in done.value) if done.value else "was not there"
            current.end("address", done.ended_ns, code=done.code, detail=words if done.ok else done.text)

    def _prepare(self, held: Held, now_ns: int) -> None:
        """Build the frames and open the socket, anew where the interface may be another one."""
        if self._current is not None:
            self._current.begin("announce", now_ns)
        try:
            self._frames = frames(held.link.mac, (*held.new, *held.renewed))
            if self._socket is not None:
                self._socket.close()
            self._socket = None
            self._socket = PacketSocket(held.link.name)
        except (TouchlineError, OSError, ValueError) as error:
            self._announce_failed(error, now_ns)

    def _announce(self, now_ns: int) -> None:
        plan = self._announcement
        if plan is None or self._socket is None or not self._frames or not plan.due(now_ns):
            return
        try:
            left = self._socket.send(self._frames)
        except (TouchlineError, OSError) as error:
            self._announce_failed(error, now_ns)
        else:
            self._tell_trouble("announce", "")
            if self._current is not None and self._current.pending("announce"):
                text = f"{left} of {len(self._frames)} frames, first of {len(BURST_MS) + len(TAIL_MS)} times"
                self._current.end("announce", monotonic_ns(), detail=text)
        plan.refresh(now_ns)

    def _announce_failed(self, error: Exception, now_ns: int) -> None:
        self._tell_trouble("announce", str(error))
        if self._current is not None:
            self._current.end("announce", now_ns, code=code_of(error), detail=str(error))

    def _tell_trouble(self, what: str, text: str) -> None:
        """An event when trouble begins and when it changes its face, not twice a second."""
        if text == self._trouble.get(what, ""):
            return
        self._trouble[what] = text
        self._parts.noted(
            Note("error" if text else "info", f"failover-{what}", f"virtual address: {text or 'works again'}")
        )

    def _close(self, now_ns: int, early: bool = False) -> None:
        """Send the event once everything else has ended, then hand over the report."""
        current = self._current
        if current is None or (self._fresh and not early):
            return
        if early:
            for name in ("gate", "address", "announce", "recorder"):
                current.skip(name, "the role changed again")
                current.end(name, now_ns, code=errno.ECANCELED, detail="the role changed again")
        else:
            current.give_up(now_ns, but="event")
        if any(current.pending(name) for name in ("gate", "address", "announce", "recorder")):
            return
        event = self._parts.event
        if event is None:
            current.skip("event", "nobody takes events")
        else:
            current.begin("event", now_ns)
            try:
                event(current.report().document())
            except (TouchlineError, OSError) as error:
                current.end("event", monotonic_ns(), code=code_of(error), detail=str(error))
            else:
                current.end("event", monotonic_ns(), detail="handed to the publisher")
        self._current = None
        self._parts.finished(current.report())
