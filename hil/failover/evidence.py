"""From what a trial left behind to the judge's words: the rack's store, the tap, the observer, the nodes' histories."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from agent.camera.grid import Trigger
from hil.failover.answers import Carrying, Heard, Span
from hil.failover.configs import CAMERA, node_name
from hil.failover.judge import (
    NS_PER_MS,
    Evidence,
    Frame,
    Interval,
    Lease,
    Spared,
    Takeover,
    half_period_ns,
    shared_times,
)
from hil.failover.net import NODES
from hil.failover.people import STANDING_M
from hil.failover.trial import Trial
from touchline.timeline import Clock

_FRAMES: Final = (
    "SELECT r.ptp_ns, s.node, b.epoch, MIN(b.arrived_ptp_ns), COUNT(*) FROM records r"
    " JOIN batches b ON b.id = r.batch JOIN sources s ON s.id = b.source"
    " WHERE r.camera = ? AND r.ptp_ns BETWEEN ? AND ? GROUP BY r.ptp_ns, s.node, b.epoch ORDER BY r.ptp_ns"
)


def read_frames(database: Path, grid: Trigger, span_ptp_ns: tuple[int, int], offset_ns: int) -> list[Frame]:
    """The camera's frames of the exposures of a span, as stored; ``offset_ns``: PTP minus monotonic time.

    A frame's stamp lies beside its exposure's place on the grid, so at either end half a period more is read.
    """
    half_ns = half_period_ns(grid)
    first_ptp_ns, last_ptp_ns = span_ptp_ns
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=10.0)) as store:
        rows = store.execute(_FRAMES, (CAMERA, first_ptp_ns - half_ns, last_ptp_ns + half_ns)).fetchall()
    return [Frame(ptp, node, epoch, arrived - offset_ns, records) for ptp, node, epoch, arrived, records in rows]


def ptp_offset_ns(clock: Clock) -> int:
    """PTP minus monotonic time on this machine."""
    return clock.at(0).ptp_ns


def intervals_of(carrying: Sequence[Carrying]) -> list[Interval]:
    """When each kernel had the address."""
    found: list[Interval] = []
    since: dict[str, int] = {}
    for one in carrying:
        if one.on:
            since[one.node] = one.at_ns
        elif one.node in since:
            found.append(Interval(one.node, since.pop(one.node), one.at_ns))
    return found + [Interval(node, begin_ns) for node, begin_ns in since.items()]


def answers_of(spans: Sequence[Span], names: Mapping[str, str]) -> list[Interval]:
    """Whom the observer heard; ``names`` by hardware address."""
    return [Interval(names.get(span.mac, span.mac), span.first_ns, span.last_ns) for span in spans]


def completed(takeover: Takeover, history: Sequence[Mapping[str, Any]], offset_ns: int) -> Takeover:
    """With what the node's own history says of the moments in between."""
    for entry in history:
        if entry["kind"] == "takeover" and entry.get("epoch") == takeover.epoch:
            start_ns = entry["ptp_ns"] - offset_ns
            ends = {
                step["step"]: start_ns + round((step["begun_ms"] + step["took_ms"]) * NS_PER_MS)
                for step in entry["steps"]
                if "took_ms" in step
            }
            suspected_ns, gate_ns = ends.get("detect"), ends.get("gate")
            return replace(takeover, trigger=entry["trigger"], suspected_ns=suspected_ns, gate_ns=gate_ns)
    return takeover


def both_ms(heard: Heard, down: Sequence[Interval]) -> float:
    """For how long at most both kernels had the address although both nodes ran, ms."""
    carried = intervals_of(heard.carrying)
    shared = shared_times(carried, down)
    now_ns = max((one.at_ns for one in heard.carrying), default=0)
    return max(((one.end_ns or now_ns) - one.begin_ns for one in shared), default=0) / NS_PER_MS


def collect(trial: Trial, clock: Clock, window: tuple[int, int, int, int], mark: int) -> Evidence:
    """Everything about one trial. ``window``: first exposure, fault, last exposure (all monotonic ns), end."""
    site = trial.site
    first_ns, fault_ns, last_ns, end_ns = window
    offset_ns = ptp_offset_ns(clock)
    span_ptp_ns = first_ns + offset_ns, last_ns + offset_ns
    heard, tapped = site.observer.read(), site.tap.read(mark)
    names = {site.net.mac(node): node_name(node) for node in NODES}
    takeovers = [
        completed(one, site.nodes[node].history(), offset_ns)
        for one in tapped.takeovers()
        for node in NODES
        if node_name(node) == one.node and one.at_ns >= fault_ns
    ]
    carried = [one for one in intervals_of(heard.carrying) if one.end_ns is None or one.end_ns >= fault_ns]
    return Evidence(
        active=trial.before,
        fault_ns=fault_ns,
        end_ns=end_ns,
        grid=site.grid,
        first_ptp_ns=span_ptp_ns[0],
        last_ptp_ns=span_ptp_ns[1],
        people=len(STANDING_M),
        frames=read_frames(site.database, site.grid, span_ptp_ns, offset_ns),
        ptp_offset_ns=offset_ns,
        leases=tapped.leases,
        carried=carried,
        answered=[one for one in answers_of(heard.spans, names) if one.end_ns is None or one.end_ns >= first_ns],
        down=trial.down,
        takeovers=takeovers,
        spared=trial.spared,
    )


def save(evidence: Evidence, path: Path) -> None:
    """As JSON, for whoever wants to look at a verdict again."""
    path.write_text(json.dumps(asdict(evidence)))


def load(path: Path) -> Evidence:
    """The other way round."""
    value: dict[str, Any] = json.loads(path.read_text())
    kinds: dict[str, Any] = {
        "frames": Frame,
        "leases": Lease,
        "carried": Interval,
        "answered": Interval,
        "down": Interval,
        "takeovers": Takeover,
    }
    for name, kind in kinds.items():
        value[name] = [kind(**one) for one in value[name]]
    value["grid"] = Trigger(**value["grid"])
    value["spared"] = None if value.get("spared") is None else Spared(**value["spared"])
    return Evidence(**value)
