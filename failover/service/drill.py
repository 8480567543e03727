"""The drill on a real node: its links switched off for a second, the service asked what followed (FOV-4).

What the twin did comes in its own words over the beats, in PTP time; what this node did from its own service; how the
match went on from the recordings of both (:mod:`failover.service.film`). Frames at the rack are counted there
(``touchline aggregator audit``), not here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final, Literal

from failover.actions.sequence import takeover_steps
from failover.core.types import Role
from failover.cut import LinkCut, Restored
from failover.drill import Drill, Request, Situation, Watched, refusal, run
from failover.drill_report import Continuity, DrillStore, Mark, marks_of
from failover.history import append, encode, history_folder
from failover.owned import as_owner_of
from failover.service.control import ask
from failover.service.film import AROUND_NS, Cut, film, why_no_film
from failover.service.settings import settings_of
from failover.timeline import draw
from touchline.config import NodeConfig
from touchline.config.failover import FailoverSection
from touchline.errors import InputError, ResourceError, TouchlineError
from touchline.timeline import SystemClock, monotonic_ns, sleep_until, utc_s, utc_text
from touchline.windows import parse_window

REPORTS: Final = "drills"
COPY_WAIT_NS: Final = 10_000_000_000  # the twin's recorders come back half a second after the links, and send the rest
POLL_NS: Final = 200_000_000
_LOG: Final = logging.getLogger("failover.drill")


class NodeHands:
    """Does what the plan wants, on this node."""

    def __init__(self, config: NodeConfig, links: LinkCut, note: Callable[[str], None]) -> None:
        self._config, self._run_dir, self._links, self._note = config, config.node.run_dir, links, note
        self._clock = SystemClock()
        self._restored_ns: int | None = None
        self._heard_ms: float | None = None
        self.before_epoch = int(self._status()["epoch"])

    def tell(self, what: Literal["drill-begin", "drill-end"]) -> None:
        """To the service."""
        ask(self._run_dir, what)

    def prepare(self, max_s: float) -> str:
        """Start the guard."""
        links = self._links.prepare(max_s)
        self._note(f"cutting {links}")
        return links

    def cut(self) -> int:
        """Switch the links off."""
        return self._links.cut()

    def restore(self) -> Restored:
        """Switch them on again."""
        restored = self._links.restore()
        self._restored_ns = restored.at_ns
        self._note("links on again, waiting for the twin")
        return restored

    def ptp_ns(self, at_ns: int) -> int:
        """PTP time of a moment, by the system clock; the same clock that stamps the reports."""
        return self._clock.at(at_ns).ptp_ns

    def keep(self, report: Mapping[str, Any]) -> None:
        """On the disk, with a line of history, before the film is looked at. Raises ResourceError."""
        if not why_no_film(self._config):
            self.save(report, "note")

    def save(self, report: Mapping[str, Any], kind: str = "drill") -> Path:
        """Write the report, in the place of the one before the film. Raises ResourceError."""
        folder = history_folder(self._config)
        try:
            return keep(report, folder, kind)
        except OSError as error:
            raise ResourceError(
                f"the report cannot be kept in {error.filename or folder}: {error.strerror}",
                hint="it must be a folder of the service's user, on a disk with room",
            ) from error

    def film(self, cut_ptp_ns: int, restored_ptp_ns: int) -> Continuity:
        """What is on disk here, once the twin's copy has come this far."""
        if why_no_film(self._config):
            return film(self._config, Cut(cut_ptp_ns, restored_ptp_ns))
        if not cut_ptp_ns:
            return Continuity(why="the PTP time of the cut is not known", wanted=True)
        self._note("waiting for the twin's recording")
        until_ns = monotonic_ns() + COPY_WAIT_NS
        while monotonic_ns() < until_ns and not self._is_copied(restored_ptp_ns + AROUND_NS):
            sleep_until(monotonic_ns() + POLL_NS)
        return film(self._config, Cut(cut_ptp_ns, restored_ptp_ns))

    def _is_copied(self, ptp_ns: int) -> bool:
        try:
            recorders = self._status()["recorders"]
        except TouchlineError:
            return False
        return all((one.get("twin_ptp_ns") or 0) >= ptp_ns for one in recorders)

    def watch(self, cut_ns: int, cut_ptp_ns: int) -> Watched:
        """What the service knows by now, its own part and the twin's."""
        said = self._status()
        twin = said["twin"]
        marks: list[Mark] = []
        told = said["twin_switch"]
        known = told is not None and told["epoch"] > self.before_epoch
        if known:
            marks += marks_of(told, cut_ptp_ns)
        marks += self._own(said, cut_ns, cut_ptp_ns)
        heard = twin["heard_ms_ago"] is not None and not twin["suspected"]
        if heard and self._heard_ms is None and self._restored_ns is not None:
            self._heard_ms = (monotonic_ns() - round(twin["heard_ms_ago"] * 1e6) - cut_ns) / 1e6
        if self._heard_ms is not None:
            marks.append(Mark("node", "heard again", self._heard_ms))
        calm = known and heard and said["role"] == Role.STANDBY.value and twin["role"] == Role.ACTIVE.value
        return Watched(marks, calm=calm)

    def _own(self, said: Mapping[str, Any], cut_ns: int, cut_ptp_ns: int) -> list[Mark]:
        """This node's part: fenced is the moment at which it gave up what only one may have, whatever its role then."""
        own, dropped_ms_ago = said["last_switch"], said["dropped_ms_ago"]
        marks: list[Mark] = []
        if own is not None and own["kind"] == "release" and own["ptp_ns"] >= cut_ptp_ns:
            marks += [mark for mark in marks_of(own, cut_ptp_ns) if mark.kind != "fenced"]
        if dropped_ms_ago is not None:
            at_ms = (monotonic_ns() - cut_ns) / 1e6 - dropped_ms_ago
            marks += [Mark("node", "fenced", at_ms, "address and recording given up")] if at_ms > 0 else []
        return marks

    def _status(self) -> dict[str, Any]:
        found = ask(self._run_dir, "status")["status"]
        assert isinstance(found, dict)
        return found


def situation_of(status: Mapping[str, Any]) -> Situation:
    """What the service's status means for a drill."""
    twin = status["twin"]
    heard = twin["heard_ms_ago"] is not None and not twin["suspected"]
    settled = not status["handing_over"] and not status["drill"] and not status["stopping"]
    return Situation(status["role"], heard, bool(twin["fit"]), settled)


def why_not(config: NodeConfig, section: FailoverSection, *, forced: bool) -> InputError | None:
    """Why no drill may run now. Raises LinkError when the service does not run."""
    if not section.drill_interfaces:
        return InputError("[failover] drill_interfaces names no link to cut", hint='for example ["eth0", "eth1"]')
    windows = [parse_window(one) for one in section.match_windows]
    moment = datetime.fromtimestamp(utc_s(), timezone.utc).astimezone()
    return refusal(situation_of(ask(config.node.run_dir, "status")["status"]), windows, moment, forced=forced)


def run_drill(
    config: NodeConfig, section: FailoverSection, *, forced: bool, cut_ms: float, note: Callable[[str], None]
) -> tuple[dict[str, Any], Path | None]:
    """Cut, measure, restore, keep the report; returns it and where it lies (None: nowhere), its picture beside it.

    Raises LinkError when the service does not run, HardwareError or ResourceError when nothing could be cut.
    """
    node = config.node.name
    budgets = {one.name: one.budget_ms for one in takeover_steps(settings_of(section, node))}
    request = Request(node, section.twin, utc_text(), cut_ms=cut_ms, forced=forced, budgets=budgets)
    hands = NodeHands(config, LinkCut(section.drill_interfaces, config.node.run_dir), note)
    report = run(Drill(request), hands)
    try:
        return report, hands.save(report)
    except ResourceError as error:
        trouble = [one for one in report["trouble"] if one != error.message]  # also where it was met before the film
        return {**report, "ok": False, "trouble": [*trouble, error.message]}, None


def keep(report: Mapping[str, Any], folder: Path, kind: str = "drill") -> Path:
    """Put a report, its picture and a line of history into the service's folder, as its owner. Raises OSError.

    ``kind``: "note" before the film is looked at: a drill is one "drill" in the history.
    """
    with as_owner_of(folder):
        path = DrillStore(folder / REPORTS).save(report, draw(report))
        line = {"ok": report["ok"], "summary": report["summary"], "figures": report["figures"], "report": path.name}
        if kind == "note":
            text = f"{report['summary']}; the film is not looked at yet ({path.name})"
            line = {"severity": "info", "code": "drill", "text": text}
        try:
            append(folder, encode(kind, line, str(report["at"])))
        except OSError as error:
            _LOG.warning("the history does not take the drill: %s", error)
    return path
