"""One picture of the node from its children's reports: the health document, the status file, the metrics. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent.parent.children import ChildHandle
from agent.ring import RingLedger
from touchline.timeline import Stamp

_DROPS = "dropped_"


@dataclass
class Rates:
    """Frames per second of each camera, from counters and the time between two looks."""

    _last: dict[int, tuple[int, int]] = field(default_factory=dict)
    fps: dict[int, float] = field(default_factory=dict)

    def look(self, camera: int, frames: int, now_ns: int) -> None:
        """Take a camera's total at a moment; the rate follows from the second look on."""
        last = self._last.get(camera)
        if last is not None and now_ns > last[1]:
            self.fps[camera] = (frames - last[0]) * 1e9 / (now_ns - last[1])
        self._last[camera] = (frames, now_ns)


@dataclass(frozen=True)
class NodeView:
    """Everything that is known about the node at one moment; ``clock_says``: see :class:`.clock.ClockView`."""

    name: str
    pid: int
    epoch: int
    boot_id: str
    state: str
    reason: str
    clock: Stamp
    children: Sequence[ChildHandle]
    ledgers: Mapping[int, RingLedger]
    rates: Mapping[int, float]
    clock_says: Mapping[str, Any] = field(default_factory=dict)

    def drops(self) -> dict[str, int]:
        """Every loss by its reason. Frames come from the rings' own ledgers, which survive any process."""
        total = dict.fromkeys(("camera", "ring", "late", "abandoned"), 0)
        for ledger in self.ledgers.values():
            total["camera"] += ledger.camera_drops
            total["abandoned"] += ledger.abandoned
            for reader in ledger.readers:
                if reader.lives:
                    total["ring"] += reader.skipped
                    total["late"] += reader.late
                    total["abandoned"] += reader.abandoned
        for child in self.children:
            for name, value in child.counters().items():
                if name.startswith(_DROPS):
                    reason = name.removeprefix(_DROPS)
                    total[reason] = total.get(reason, 0) + value
        return {reason: count for reason, count in total.items() if count}

    def stages(self) -> dict[str, dict[str, float]]:
        """Worst summary of each stage over the cameras, ms."""
        worst: dict[str, dict[str, float]] = {}
        for child in self.children:
            for stage, one in child.stages().items():
                have = worst.get(stage)
                worst[stage] = one if have is None else {key: max(one[key], have[key]) for key in one}
        return worst

    def captured(self) -> int:
        """Frames landed in the rings."""
        return sum(ledger.committed for ledger in self.ledgers.values())

    def total(self, counter: str) -> int:
        """A counter's sum over all children."""
        return sum(child.counters().get(counter, 0) for child in self.children)

    def said(self, topic: str) -> dict[str, Any]:
        """What the publisher says of its ``spool`` or its ``link``; empty before its first report."""
        for child in self.children:
            if topic in child.report:
                found = child.report[topic]
                assert isinstance(found, dict)
                return found
        return {}

    def failover(self) -> dict[str, Any]:
        """What the publisher says of its part in a pair; empty without failover. One that does not run has no part."""
        said = self.said("failover")
        if said and not any(child.running and "failover" in child.report for child in self.children):
            return {**said, "role": "standby", "open": False, "service": False}
        return said

    def thermal(self) -> dict[str, Any]:
        """Temperature and power as the publisher tells them; empty without ``[thermal]``. Old words are none."""
        said = self.said("thermal")
        if said and not any(child.running and "thermal" in child.report for child in self.children):
            return {"good": False, "why": "the publisher does not run", "hot": True}
        return said

    def trace(self) -> dict[str, int]:
        """Frames and bytes that went into the trace ring, and what is not in it any more, or never was."""
        names = {"frames": "traced", "bytes": "traced_bytes", "dropped": "trace_dropped"}
        counters = [child.counters() for child in self.children]
        total = {name: sum(one.get(key, 0) for one in counters) for name, key in names.items()}
        return total if any(total.values()) else {}

    def document(self) -> dict[str, Any]:
        """The health document: topic ``health``, ``status.json`` and ``touchline agent status``."""
        failover = self.failover()
        recording = {child.name: child.report["recording"] for child in self.children if "recording" in child.report}
        return {
            "node": self.name,
            "ptp_ns": self.clock.ptp_ns,
            "pid": self.pid,
            "state": self.state,
            "reason": self.reason,
            "epoch": failover.get("epoch", self.epoch),
            "boot_id": self.boot_id,
            "fps": {str(camera): round(rate, 2) for camera, rate in self.rates.items()},
            "frames": {"captured": self.captured(), "processed": self.total("processed")},
            "dropped": self.drops(),
            "records": self.total("records"),
            "queued": self.total("queued"),
            "acknowledged": self.total("acknowledged"),
            "spool": self.said("spool"),
            "link": self.said("link"),
            "stages_ms": self.stages(),
            "children": {child.name: _child_document(child) for child in self.children},
            **({"failover": failover} if failover else {}),
            **({"recording": recording} if recording else {}),
            **({"thermal": thermal} if (thermal := self.thermal()) else {}),
            **({"trace": trace} if (trace := self.trace()) else {}),
            **({"uart": uart} if (uart := self.said("uart")) else {}),
        }

    def clock_document(self) -> dict[str, Any]:
        """The clock document: topic ``clock``."""
        clock = self.clock
        now = {"state": clock.state.value, "bound_ns": clock.bound_ns, "epoch": clock.epoch, "ptp_ns": clock.ptp_ns}
        return {**now, **{name: value for name, value in self.clock_says.items() if name not in now}}


def _child_document(child: ChildHandle) -> dict[str, Any]:
    return {
        "running": child.running,
        "ready": child.ready,
        "pid": None if child.process is None else child.process.pid,
        "restarts": child.budget.total,
        "last_failure": child.last_failure,
        **{key: child.facts[key] for key in ("engine", "source") if key in child.facts},
    }
