"""The rack's state in memory: the decisions, the figures, the nodes and the live picture behind one lock.

The ingest thread brings messages and ticks; the web server takes snapshots. Nothing here touches a file or a socket.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any, Final

from aggregator.core.accept import Acceptor, OwnerChange
from aggregator.core.align import AlignmentWatch, Claim
from aggregator.core.cabinet import Cabinet, CabinetWatch
from aggregator.core.dedupe import Deduper
from aggregator.core.desk import Desk, Outcome, Taken, frame_groups
from aggregator.core.fuse import Fuser, dots_of
from aggregator.core.live import Linker, LiveDot, beside, liveness
from aggregator.core.nodes import Event, NodeBoard
from aggregator.core.statistics import Figures, summary_row
from aggregator.core.validate import Limits, Refusal
from aggregator.store import Arrival, Group, SavedState, Written
from touchline.config import RackConfig
from touchline.stats import Window

_MAX_NODES: Final = 1000  # whose starts are told
_START_BYTES: Final = 12  # of a boot id; the rest counts the times that a node became standby
_REVIEW_NS: Final = 200_000_000  # how often the nodes' clocks are compared; they speak every half second or second
_REFUSAL_EVENT_NS: Final = 10_000_000_000  # the same refusal is told once in so long; the counter has them all


@dataclass(slots=True)
class Link:
    """The broker link as the page shows it."""

    connected: bool = False
    text: str = "not connected yet"
    connects: int = 0


class Rack:
    """See the module's text. Times: ``now_ns`` monotonic, ``ptp_ns`` TAI, both given by the caller."""

    def __init__(self, config: RackConfig) -> None:
        receive, accept, fuse = config.receive, config.accept, config.fuse
        self._config = config
        self._lock = threading.Lock()
        self._desk = Desk(
            Deduper(receive.max_ranges, round(receive.gap_close_s * 1e9), receive.max_starts),
            Acceptor(round(accept.silent_s * 1e9), accept.rate_hz, accept.max_intervals),
            Limits(receive.max_message_bytes, frozenset(receive.nodes)),
            park_ns=round(accept.park_s * 1e9),
        )
        self._fuser = Fuser(round(fuse.wait_ms * 1e6), fuse.gate_m)
        self._linker = Linker()
        self._board = NodeBoard()
        self._watch = AlignmentWatch()
        cabinets = (Cabinet(one.name, tuple(one.nodes), one.budget_w, one.other_w) for one in config.cabinet)
        self._cabinets = CabinetWatch(cabinets)
        self._reviewed_ns: int | None = None
        self._figures = Figures()
        self._told: dict[tuple[str, str], int] = {}
        self._boots: dict[str, bytes] = {}
        self._frame_ns = 0
        self._saved_totals: dict[str, int] = {}
        self._pending_events: list[Event] = []
        self.commit_ms = Window()
        self.link = Link()
        self.store_fault = ""

    def restore(self, state: SavedState, now_ns: int) -> None:
        """Take up what the store remembers."""
        with self._lock:
            deduper = self._desk.deduper
            for key in state.retired:
                deduper.restore_retired(key)
            for key, seen in state.sources.items():
                deduper.restore(key, seen, now_ns)
            for camera, owner, epoch, intervals in state.cameras:
                self._desk.acceptor.restore(camera, owner, epoch, intervals, now_ns)
            for ident, exposure, taken in state.parked:
                self._desk.restore_parked(exposure, taken, ident, now_ns)
            self._saved_totals = dict(state.totals)
            for name, value in state.totals.items():
                table, _, entry = name.partition(":")
                if table == "refused":
                    self._figures.refused[entry] = value
                elif table == "unflagged":
                    self._figures.unflagged[entry] = value
                elif entry:
                    deduper.restore_totals(table, entry, value)
                else:
                    self._figures.totals[table] = value

    def message(self, topic: str, payload: bytes, now_ns: int, ptp_ns: int, group: Group) -> None:
        """Decide about one message that arrived at ``now_ns`` / ``ptp_ns``; add what must be stored to ``group``."""
        with self._lock:
            outcome = self._desk.message(topic, payload, now_ns)
            self._figures.count(outcome, now_ns)
            if outcome.refusal is not None:
                self._refused(outcome.refusal, now_ns, ptp_ns)
            if outcome.document is not None:
                event = self._board.document(outcome.document, now_ns, ptp_ns)
                if event is not None:
                    group.events.append(event)
                if outcome.document.kind == "clock":
                    self._reviewed_ns = None
            self._review(now_ns, ptp_ns)
            if outcome.header is not None:
                self._new_boot(outcome.header.node, outcome.header.boot_id, ptp_ns)
                self._board.batch(outcome.header, now_ns)
            number = None if outcome.header is None else outcome.header.batch_number
            self._collect(outcome, number, now_ns, ptp_ns, group)

    def tick(self, now_ns: int, ptp_ns: int, group: Group) -> None:
        """Let time pass: settle parked frames, give out fused moments."""
        with self._lock:
            self._review(now_ns, ptp_ns)
            self._collect(self._desk.tick(now_ns), None, now_ns, ptp_ns, group)
            for moment in self._fuser.poll(now_ns):
                self._linker.update(moment)

    def _collect(self, outcome: Outcome, number: int | None, now_ns: int, ptp_ns: int, group: Group) -> None:
        self._figures.totals["twin_copies"] += outcome.twin_copies
        for change in outcome.owner_changes:
            self._owner_changed(change, ptp_ns)
        for taken in outcome.taken:
            group.arrivals.append(Arrival(taken, number, ptp_ns))
            self._figures.totals["unique"] += len(taken.records)
            self._show(taken, now_ns, ptp_ns)
        group.parked += outcome.parked
        group.unparked += outcome.unparked
        group.events += self._pending_events
        self._pending_events = []

    def _show(self, taken: Taken, now_ns: int, ptp_ns: int) -> None:
        self._frame_ns = now_ns
        node = taken.source[0]
        timeline = self._watch.verdict.timeline(node)
        for exposure, indices in frame_groups(taken.records):
            latency_ms = (ptp_ns - exposure.ptp_ns) / 1e6
            self._figures.frame(node, exposure.camera, len(indices), latency_ms, now_ns)
            period_ns = self._desk.acceptor.cameras[exposure.camera].period.period_ns
            self._fuser.push(dots_of(taken.records[indices], timeline), period_ns // 2, now_ns)

    def _review(self, now_ns: int, ptp_ns: int) -> None:
        """Compare clocks and sum up cabinets when it is time, or a clock has spoken; what changes is said."""
        if self._reviewed_ns is not None and 0 <= now_ns - self._reviewed_ns < _REVIEW_NS:
            return
        self._reviewed_ns = now_ns
        half_ns = self._desk.acceptor.half_period_ns
        claims = [
            Claim(node, view.word, view.clock.age_s(now_ns), half_ns(node)) for node, view in self._board.nodes.items()
        ]
        for node, why in self._watch.review(claims, now_ns):
            text = f"not aligned: {why}" if why else f"{node} is aligned"
            self._say("warning" if why else "info", "alignment", text, ptp_ns)
        powers_w = {node: self._board.power_w(node, now_ns) for node in self._board.nodes}
        for alarm, text in self._cabinets.review(powers_w, now_ns):
            self._say("error" if alarm else "info", "cabinet", text, ptp_ns)

    def prepare(self, group: Group) -> None:
        """Complete a group with everything that changed, just before it is written."""
        with self._lock:
            group.sources = self._desk.deduper.take_changes()
            group.cameras += self._desk.acceptor.take_changes()
            now = self._all_totals()
            group.totals = {name: value - self._saved_totals.get(name, 0) for name, value in now.items()}

    def written(self, written: Written, took_ms: float) -> None:
        """Note that a group is on disk."""
        with self._lock:
            self._figures.totals["same_key"] += written.same_key
            self._figures.totals["unique"] -= written.same_key
            self._saved_totals = self._all_totals()
            self.commit_ms.add(took_ms)
            self.store_fault = ""

    def _all_totals(self) -> dict[str, int]:
        refused = {f"refused:{reason}": count for reason, count in self._figures.refused.items()}
        unflagged = {f"unflagged:{node}": count for node, count in self._figures.unflagged.items()}
        return {**self._figures.totals, **refused, **unflagged, **self._desk.deduper.totals()}

    def say(self, severity: str, code: str, text: str, ptp_ns: int) -> None:
        """Add an event of the rack itself; stored with the next group."""
        with self._lock:
            self._say(severity, code, text, ptp_ns)

    def _say(self, severity: str, code: str, text: str, ptp_ns: int) -> None:
        self._pending_events.append(self._board.say(Event(ptp_ns, "", severity, code, text[:200])))

    def _refused(self, refusal: Refusal, now_ns: int, ptp_ns: int) -> None:
        key = (refusal.node, refusal.reason.value)
        told_ns = self._told.get(key)
        if told_ns is not None and now_ns - told_ns < _REFUSAL_EVENT_NS:
            return
        if len(self._told) > 1000:
            self._told.clear()
        self._told[key] = now_ns
        who = refusal.node or "a client"
        self._say("warning", "refused", f"message of {who} refused: {refusal.reason.value}, {refusal.detail}", ptp_ns)

    def _new_boot(self, node: str, boot_id: bytes, ptp_ns: int) -> None:
        boot_id = boot_id[:_START_BYTES]
        if self._boots.get(node) != boot_id:
            known = node in self._boots
            if not known and len(self._boots) >= _MAX_NODES:
                return
            self._boots[node] = boot_id
            word = "restarted" if known else "is here"
            self._say("info", "node", f"{node} {word} (boot {boot_id.hex()[:8]})", ptp_ns)

    def _owner_changed(self, change: OwnerChange, ptp_ns: int) -> None:
        if change.reason == "first":
            self._say("info", "owner", f"camera {change.camera} is sent by {change.after}", ptp_ns)
            return
        why = f"epoch {change.epoch}" if change.reason == "epoch" else f"{change.before} is silent"
        text = f"camera {change.camera}: {change.after} takes over from {change.before} ({why})"
        self._say("warning", "takeover", text, ptp_ns)

    def live(self, now_ns: int, ptp_ns: int) -> dict[str, Any]:
        """The picture for the page: dots, and how old it is."""
        with self._lock:
            shown_ns = self._linker.ptp_ns
            dots = self._linker.dots()
            left_out = self._fuser.left_out(now_ns)
            quiet_s = (now_ns - self._frame_ns) / 1e9 if self._frame_ns else None
        behind_s = (ptp_ns - shown_ns) / 1e9 if shown_ns else None
        unaligned = beside(dots)
        return {
            "type": "live",
            "state": liveness(quiet_s, behind_s, self._config.web.stale_s),
            "ptp_ms": shown_ns // 1_000_000,
            "quiet_s": _rounded(quiet_s),
            "behind_s": _rounded(behind_s),
            "unaligned": unaligned,
            "left_out": left_out,
            "players": [_player(dot, shown_ns, dot.timeline in unaligned) for dot in dots],
        }

    def status(self, now_ns: int, ptp_ns: int) -> dict[str, Any]:
        """Nodes, rates, latencies and the event log, for the page and ``aggregator status``."""
        with self._lock:
            self._review(now_ns, ptp_ns)
            figures = self._figures
            owners = {
                str(camera): {"owner": state.owner, "epoch": state.epoch, "intervals": len(state.coverage.intervals)}
                for camera, state in sorted(self._desk.acceptor.cameras.items())
            }
            return {
                "type": "status",
                "ptp_ms": ptp_ns // 1_000_000,
                "broker": {"connected": self.link.connected, "text": self.link.text, "connects": self.link.connects},
                "store_fault": self.store_fault,
                "nodes": self._node_rows(now_ns),
                "alignment": self._alignment(),
                "cabinets": self._cabinets.rows(now_ns),
                "streams": figures.stream_rows(now_ns),
                "cameras": owners,
                "rates": {
                    "records_per_s": round(figures.records.per_second(now_ns), 1),
                    "messages_per_s": round(figures.messages.per_second(now_ns), 1),
                },
                "latency_history": [(s, round(a, 2), round(b, 2)) for s, a, b in figures.history.points(now_ns)],
                "events": [
                    {
                        "ptp_ms": e.ptp_ns // 1_000_000,
                        "node": e.node,
                        "severity": e.severity,
                        "code": e.code,
                        "text": e.text,
                    }
                    for e in list(self._board.events)[-60:]
                ],
                "stats": self._stats(now_ns),
            }

    def _node_rows(self, now_ns: int) -> list[dict[str, Any]]:
        rows = self._board.rows(now_ns)
        cameras = self._desk.acceptor.cameras.items()
        for row in rows:
            row["owns"] = sorted(camera for camera, state in cameras if state.owner == row["node"])
            standing = self._watch.verdict.nodes.get(row["node"])
            row["clock"] |= {
                "aligned": standing is not None and standing.aligned,
                "why": "" if standing is None else standing.reason,
            }
            row["unflagged_records"] = self._figures.unflagged[row["node"]]
        return rows

    def _alignment(self) -> dict[str, Any]:
        verdict = self._watch.verdict
        return {
            "spread_ns": verdict.spread_ns,
            "grandmaster": verdict.grandmaster,
            "aligned": sorted(node for node, standing in verdict.nodes.items() if standing.aligned),
            "unaligned": sorted(node for node, standing in verdict.nodes.items() if not standing.aligned),
        }

    def stats(self, now_ns: int) -> dict[str, Any]:
        """The totals."""
        with self._lock:
            return self._stats(now_ns)

    def _stats(self, now_ns: int) -> dict[str, Any]:
        totals = self._figures.totals
        missing = self._desk.deduper.missing(now_ns)
        return {
            "records": {
                "received": totals["received"],
                "unique": totals["unique"],
                "redelivered": totals["redelivered"],
                "twin_copies": totals["twin_copies"],
                "same_key": totals["same_key"],
                "refused": totals["refused_records"],
                "unflagged": sum(self._figures.unflagged.values()),
                "open_gaps": missing.open,
                "lost": missing.lost,
                "before_first": missing.before_first,
            },
            "messages": {"received": totals["messages"], "refused": dict(self._figures.refused)},
            "parked_frames": self._desk.parked_frames,
            "starts": {"remembered": self._desk.deduper.starts, "retired": self._desk.deduper.retired_starts},
            "fuse": {
                "late_frames": self._fuser.late_frames,
                "incomplete": self._fuser.incomplete,
                "mixed_moments": self._fuser.mixed_moments,
                "left_out_frames": self._fuser.left_out_frames,
            },
            "latency_ms": summary_row(self._figures.latency_ms.summary()),
            "commit_ms": summary_row(self.commit_ms.summary()),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _player(dot: LiveDot, ptp_ns: int, unaligned: bool) -> list[Any]:
    """[number, x, y, vx, vy, predicted, class, not aligned, cameras, first half of the player's UUID or empty]."""
    x_m, y_m = dot.at(ptp_ns)
    coasting = dot.seen_ptp_ns < ptp_ns
    return [
        dot.number,
        round(x_m, 2),
        round(y_m, 2),
        round(dot.vx_mps, 2),
        round(dot.vy_mps, 2),
        int(dot.predicted or coasting),
        dot.kind,
        int(unaligned),
        list(dot.cameras),
        dot.player.hex()[:8] if any(dot.player) else "",
    ]
