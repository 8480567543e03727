"""The steps of a takeover with their budgets, pure: told what began and ended, it keeps the report.

No step waits for another's success: what fails is written down, and the rest goes on. Only what would do harm without
an earlier one is skipped, with its reason: an address that is not held is not announced.
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from failover.actions.report import Kind, Status, StepResult, TakeoverReport
from failover.core.types import NS_PER_MS, Changed, Role, Settings, Trigger

GIVE_UP_MS: Final = 2_000.0  # a step without an end for so long has failed, and the report is closed


@dataclass(frozen=True, slots=True)
class Step:
    """A planned step and what it may take."""

    name: str
    budget_ms: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far a step is that others do. ``code``: as of a step, None while it is not over; ``text`` says what of it."""

    at_ns: int
    code: int | None
    text: str


def takeover_steps(settings: Settings) -> tuple[Step, ...]:
    """The plan of a node that becomes active, its budgets from the times of the pair.

    ``lease``: the twin renewed last when it beat last, so that the witness may have to wait for what of the lease is
    left after the silence; then one claim and its answer. The defaults add up to 270 ms, the asked mode (600 ms of
    silence) to 790 ms; the limit is 800 ms.
    """
    lease_ns = max(0, settings.lease_ns - settings.silence_ns) + settings.claim_ns + 10 * NS_PER_MS
    return (
        Step("detect", settings.silence_ns / NS_PER_MS + 20.0),
        Step("lease", lease_ns / NS_PER_MS),
        Step("gate", 30.0),
        Step("address", 20.0),
        Step("announce", 10.0),
        Step("recorder", 50.0),
        Step("event", 20.0),
    )


def release_steps() -> tuple[Step, ...]:
    """The plan of a node that ceases to be active; its gate is shut before anything of this begins."""
    return (Step("gate", 5.0), Step("address", 20.0), Step("recorder", 50.0), Step("event", 20.0))


@dataclass(slots=True)
class _Running:
    step: Step
    status: Status = Status.WAITING
    begun_ns: int | None = None
    ended_ns: int | None = None
    code: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    """Whose takeover it is, and when. ``ptp_ns`` and ``bound_ns`` are the PTP time of ``now_ns``; 0: unknown."""

    node: str
    twin: str
    now_ns: int
    ptp_ns: int = 0
    bound_ns: int = 0


class Takeover:
    """One takeover or release."""

    def __init__(self, change: Changed, start: Start, plan: Sequence[Step]) -> None:
        self.change, self.start = change, start
        self._steps = {step.name: _Running(step) for step in plan}
        self._begun_ns = start.now_ns if change.heard_ns is None else min(change.heard_ns, start.now_ns)
        if change.role is Role.ACTIVE:
            self._fill_in_the_past()
        else:
            self.end("gate", start.now_ns, detail="shut before anything else")

    @property
    def complete(self) -> bool:
        """Nothing is waited for any more."""
        return all(one.status not in (Status.WAITING, Status.RUNNING) for one in self._steps.values())

    def pending(self, name: str) -> bool:
        """Whether this step is planned and has not ended."""
        return name in self._steps and self._steps[name].status in (Status.WAITING, Status.RUNNING)

    def waiting(self, name: str) -> bool:
        """Whether this step is planned and has not begun."""
        return name in self._steps and self._steps[name].status is Status.WAITING

    def begin(self, name: str, now_ns: int) -> None:
        """A step begins; no effect on one that has begun."""
        if self.waiting(name):
            one = self._steps[name]
            one.status, one.begun_ns = Status.RUNNING, now_ns

    def end(self, name: str, now_ns: int, *, code: int = 0, detail: str = "") -> None:
        """A step ended; ``code`` 0 is success. No effect on one that has ended or is not planned."""
        if not self.pending(name):
            return
        one = self._steps[name]
        one.begun_ns = now_ns if one.begun_ns is None else one.begun_ns
        one.ended_ns = max(now_ns, one.begun_ns)
        one.status, one.code, one.detail = Status.FAILED if code else Status.OK, code, detail

    def skip(self, name: str, why: str) -> None:
        """A step that will not be done, with its reason."""
        if self.waiting(name):
            self._steps[name].status, self._steps[name].detail = Status.SKIPPED, why

    def give_up(self, now_ns: int, but: str = "") -> None:
        """Close what has had no end for ``GIVE_UP_MS``, as failed (ETIMEDOUT); ``but``: a step still to come."""
        if now_ns < self.give_up_ns:
            return
        for name, one in self._steps.items():
            if name == but:
                continue
            if one.status is Status.WAITING:
                self.skip(name, "what it waits for did not end")
            elif one.status is Status.RUNNING:
                self.end(name, now_ns, code=errno.ETIMEDOUT, detail=f"no end within {GIVE_UP_MS:g} ms")

    @property
    def give_up_ns(self) -> int:
        """When :meth:`give_up` will act."""
        return self.start.now_ns + round(GIVE_UP_MS * NS_PER_MS)

    def report(self) -> TakeoverReport:
        """What is known by now."""
        change, start = self.change, self.start
        kind: Kind = "takeover" if change.role is Role.ACTIVE else "release"
        back_ns = start.now_ns - self._begun_ns
        return TakeoverReport(
            kind,
            start.node,
            start.twin,
            change.epoch,
            change.trigger.value if change.trigger else "",
            change.reason,
            "change" if change.heard_ns is None else "last beat",
            start.ptp_ns - back_ns if start.ptp_ns else 0,
            start.bound_ns,
            tuple(self._result(order, one) for order, one in enumerate(self._steps.values(), 1)),
        )

    def _fill_in_the_past(self) -> None:
        """What was over when the role changed: detection and lease."""
        change, now_ns = self.change, self.start.now_ns
        if change.suspected_ns is None:
            trigger = change.trigger or Trigger.START
            self.skip("detect", f"trigger {trigger.value}: no silence had to be noticed")
            self.skip("lease", "not measured: no moment of suspicion")
            return
        heard_ns = change.suspected_ns if change.heard_ns is None else change.heard_ns
        self.begin("detect", heard_ns)
        self.end("detect", change.suspected_ns, detail=f"trigger {change.trigger.value}" if change.trigger else "")
        self.begin("lease", change.suspected_ns)
        self.end("lease", now_ns, detail=f"epoch {change.epoch}")

    def _result(self, order: int, one: _Running) -> StepResult:
        begun_ms = None if one.begun_ns is None else (one.begun_ns - self._begun_ns) / NS_PER_MS
        took_ms = None
        if one.begun_ns is not None and one.ended_ns is not None:
            took_ms = (one.ended_ns - one.begun_ns) / NS_PER_MS
        return StepResult(one.step.name, order, one.step.budget_ms, one.status, begun_ms, took_ms, one.code, one.detail)
