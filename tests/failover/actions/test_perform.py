"""The actions as the service's loop drives them: with a kernel that obeys, refuses or hangs, and on real ones."""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from failover.actions.address import Held, IPInterface, VirtualAddress, parse_addresses
from failover.actions.netlink import Link
from failover.actions.perform import Actions, Parts
from failover.actions.report import Status, TakeoverReport
from failover.actions.sequence import Outcome
from failover.core.types import Changed, Exclusive, Note, Role, Settings, Trigger
from touchline.errors import LinkError
from touchline.timeline import monotonic_ns

MS = 1_000_000
SETTINGS = Settings("pitch-a1", "pitch-a2")
VIP = ipaddress.ip_interface("192.0.2.10/24")


class FakeAddress(VirtualAddress):
    """Held in memory, on an interface that does not exist; ``error`` is raised, ``gate`` waited for."""

    def __init__(self) -> None:
        super().__init__([VIP], "nowhere9")
        self.there = False
        self.error: Exception | None = None
        self.gate: threading.Event | None = None
        self.asked: list[str] = []

    def hold(self) -> Held:
        self.asked.append("hold")
        if self.gate is not None:
            self.gate.wait()
        if self.error is not None:
            raise self.error
        was, self.there = self.there, True
        return Held(Link(3, "nowhere9", b"\x02\0\0\0\0\1", True, True), () if was else (VIP,), (VIP,) if was else ())

    def drop(self) -> tuple[IPInterface, ...]:
        self.asked.append("drop")
        was, self.there = self.there, False
        return (VIP,) if was else ()


class Loop:
    """The service's loop around the actions, and what it was told."""

    def __init__(self, **parts: Any) -> None:
        self.reports: list[TakeoverReport] = []
        self.notes: list[Note] = []
        self.events: list[dict[str, Any]] = []
        parts = {"event": self.events.append, **parts}
        self.actions = Actions(Parts(SETTINGS, finished=self.reports.append, noted=self.notes.append, **parts))
        self.selector = selectors.DefaultSelector()
        for one in self.actions.filenos():
            self.selector.register(one, selectors.EVENT_READ)

    def until(self, condition: Callable[[], Any], within_s: float = 60.0) -> None:
        """Serve until something is so; nothing but results and times wakes it."""
        begun_ns = monotonic_ns()
        while not condition():
            now_ns = monotonic_ns()
            assert now_ns - begun_ns < within_s * 1e9, (self.reports, self.notes)
            next_ns = self.actions.next_ns(now_ns)
            wait_s = within_s if next_ns is None else (next_ns - now_ns) * 1e-9
            self.selector.select(min(wait_s, within_s))
            self.actions.serve(monotonic_ns())

    def become(self, role: Role, *, hold: bool, epoch: int = 7, for_ms: int = 60_000) -> None:
        now_ns = monotonic_ns()
        self.actions.exclusive(Exclusive(hold, epoch, now_ns + for_ms * MS if hold else 0))
        heard_ns, suspected_ns = (now_ns - 90 * MS, now_ns - 30 * MS) if role is Role.ACTIVE else (None, None)
        trigger = Trigger.SILENCE if role is Role.ACTIVE else None
        self.actions.changed(Changed(role, epoch, trigger, "because", heard_ns, suspected_ns), now_ns)
        self.actions.serve(now_ns)

    def close(self) -> None:
        self.selector.close()
        self.actions.close()


@pytest.fixture
def loop(request) -> Iterator[Callable[..., Loop]]:
    loops: list[Loop] = []

    def make(**parts: Any) -> Loop:
        loops.append(Loop(**parts))
        return loops[-1]

    yield make
    for one in loops:
        one.close()


def statuses(report: TakeoverReport) -> dict[str, str]:
    return {step.step: step.status.value for step in report.steps}


def test_without_any_part_everything_is_skipped_with_a_reason(loop):
    one = loop(gate=False, event=None)
    one.become(Role.ACTIVE, hold=True)
    report = one.reports[0]
    assert statuses(report) == {
        "detect": "ok", "lease": "ok", "gate": "skipped", "address": "skipped", "announce": "skipped",
        "recorder": "skipped", "event": "skipped",
    }  # fmt: skip
    assert report.ok and all(step.detail for step in report.steps[2:])


def test_every_failing_step_still_runs_the_others(loop):
    address = FakeAddress()
    address.error = LinkError("the kernel refuses")
    address.error.__cause__ = OSError(errno.ENOBUFS, "no room")

    def recorder(change: Changed, begun_ns: int, now_ns: int) -> Outcome:
        return Outcome(now_ns, errno.EIO, "camera 1: nothing is written")

    def event(document: dict[str, Any]) -> None:
        raise LinkError("no publisher")

    one = loop(address=address, recorder=recorder, event=event)
    one.become(Role.ACTIVE, hold=True)
    one.actions.opened(6, monotonic_ns())  # an older epoch's word is nobody's
    one.actions.opened(7, monotonic_ns(), "camera 0 at 12")
    one.until(lambda: one.reports)
    report = one.reports[0]
    assert statuses(report) == {
        "detect": "ok", "lease": "ok", "gate": "ok", "address": "failed", "announce": "skipped",
        "recorder": "failed", "event": "failed",
    }  # fmt: skip
    codes = {step.step: step.code for step in report.steps}
    assert (codes["address"], codes["recorder"], codes["event"]) == (errno.ENOBUFS, errno.EIO, 6)
    assert not report.ok
    assert [note.code for note in one.notes] == ["failover-address"]


def test_a_refused_address_is_tried_again_and_its_end_of_trouble_told_once(loop, caplog):
    address = FakeAddress()
    address.error = LinkError("the kernel refuses")
    one = loop(address=address)
    one.become(Role.ACTIVE, hold=True)
    one.until(lambda: len(address.asked) >= 3)
    assert len([note for note in one.notes if note.code == "failover-address"]) == 1  # not once a try
    assert caplog.records == []  # whoever takes the note logs it
    address.error = None
    one.until(lambda: address.there)
    one.until(lambda: any(note.severity == "info" for note in one.notes))


def test_a_hung_kernel_never_holds_up_the_loop_and_the_lease_ends_the_job(loop):
    """This test ends only if nobody waits."""
    address, free = FakeAddress(), threading.Event()
    address.gate = free
    one = loop(address=address)
    one.become(Role.ACTIVE, hold=True)
    one.actions.serve(monotonic_ns())
    one.become(Role.STANDBY, hold=False)
    free.set()
    one.until(lambda: len(one.reports) == 2)
    assert address.asked[-1] == "drop" and not address.there
    assert not one.actions.holds_address
    assert one.reports[0].steps[3].status is Status.FAILED  # closed early
    assert "changed again" in one.reports[0].steps[3].detail
    assert statuses(one.reports[1])["address"] == "ok"


def test_a_job_that_runs_after_the_lease_asks_the_kernel_nothing(loop):
    address, free = FakeAddress(), threading.Event()
    one = loop(address=address)
    one.actions._network.submit("blocker", free.wait)
    one.become(Role.ACTIVE, hold=True, for_ms=20)
    now_ns = monotonic_ns()
    next_ns = one.actions.next_ns(now_ns)
    assert next_ns is not None and next_ns <= now_ns + 20 * MS, "the loop wakes for the end of the lease"
    one.until(lambda: "drop" in one.actions._keeper._running)  # the lease ran out by itself
    free.set()
    one.until(lambda: one.actions._keeper.settled)
    assert address.asked == ["drop"]


def test_records_alone_take_nothing_exclusive(loop):
    address = FakeAddress()
    one = loop(address=address, recorder=lambda change, begun_ns, now_ns: Outcome(now_ns, 0, "goes on"))
    one.become(Role.ACTIVE, hold=False)
    one.actions.opened(7, monotonic_ns())
    one.until(lambda: one.reports)
    found = statuses(one.reports[0])
    assert (found["address"], found["announce"], found["recorder"]) == ("skipped", "skipped", "ok")
    assert "records" in one.reports[0].steps[3].detail
    assert "hold" not in address.asked


def test_a_recording_is_measured_to_its_first_picture_and_late_is_said(loop):
    told: list[Outcome] = []
    one = loop(recorder=lambda change, begun_ns, now_ns: told[0] if told else Outcome(now_ns, None, "no picture yet"))
    one.become(Role.ACTIVE, hold=False)
    one.actions.opened(7, monotonic_ns())
    one.actions.serve(monotonic_ns())
    assert one.reports == []
    begun_ns = one.actions._current.start.now_ns
    told.append(Outcome(begun_ns + 63 * MS, 0, "camera 1: writes PTP 12"))
    one.actions.serve(monotonic_ns())
    step = one.reports[0].steps[5]
    assert (step.step, step.status, step.took_ms, step.budget_ms) == ("recorder", Status.OK, 63.0, 50.0)
    assert step.late and step.document()["late"] is True and step.detail == "camera 1: writes PTP 12"


def test_a_recording_that_never_answers_fails_with_what_it_waits_for(loop):
    one = loop(recorder=lambda change, begun_ns, now_ns: Outcome(now_ns, None, "camera 1: no picture yet"))
    one.become(Role.ACTIVE, hold=False)
    one.actions.opened(7, monotonic_ns())
    begun_ns = one.actions._current.start.now_ns
    one.actions.serve(begun_ns + 1_900 * MS)
    assert one.reports == []
    one.actions.serve(begun_ns + 2_100 * MS)
    step = one.reports[0].steps[5]
    assert (step.status, step.code, step.detail) == (Status.FAILED, errno.ETIMEDOUT, "camera 1: no picture yet")
    assert not one.reports[0].ok


def test_a_publisher_that_says_nothing_is_written_down(loop):
    one = loop()
    one.become(Role.ACTIVE, hold=False)
    one.actions.serve(monotonic_ns() + 2_000 * MS)
    gate = one.reports[0].steps[2]
    assert gate.status is Status.FAILED and gate.code == errno.ETIMEDOUT
    assert one.events[0]["steps"][2]["status"] == "failed"


@pytest.mark.system
def test_a_whole_takeover_on_real_kernels(three):
    """A hangs with the address; B takes it over; C talks to B."""
    address = VirtualAddress(parse_addresses("192.0.2.10/24,2001:db8::10/64"), "eth0")
    three.inside("a", address.hold)
    three.ip("c", "neighbour", "replace", "192.0.2.10", "lladdr", three.mac("a"), "dev", "eth0", "nud", "stale")

    def held(one: Loop) -> bool:
        return one.actions.holds_address

    def take_over() -> TakeoverReport:
        one = Loop(
            address=address, recorder=lambda change, begun_ns, now_ns: Outcome(now_ns, 0, f"epoch {change.epoch}")
        )
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM):
                one.become(Role.ACTIVE, hold=True)
                one.actions.opened(7, monotonic_ns(), "camera 0")
                one.until(lambda: one.reports)
            assert three.neighbour("c", "192.0.2.10") == three.mac("b")
            assert held(one)
            one.become(Role.STANDBY, hold=False)
            one.until(lambda: len(one.reports) == 2)
            assert not held(one)
            assert set(statuses(one.reports[1]).values()) <= {"ok", "skipped"}, one.reports[1]
        finally:
            one.close()
        return one.reports[0]

    report = three.inside("b", take_over)
    assert all(step.status is Status.OK for step in report.steps), report  # how long it took is the machine's matter
    assert "192.0.2.10/24 taken, 2001:db8::10/64 taken on eth0" in report.steps[3].detail
    assert "3 of 3 frames" in report.steps[4].detail
    assert not three.has("b", "192.0.2.10/24")
