"""Looks at a board for the judge's tests: times in seconds here, ns where they go."""

from __future__ import annotations

import errno
from collections.abc import Mapping

from thermal.judge import JudgeState, Readings, Rules, judge
from thermal.types import Raw, Sample

NS = 1_000_000_000
EIO = Raw(None, errno.EIO)
EAGAIN = Raw(None, errno.EAGAIN)
RULES = Rules()


def raw(value: float | Raw | None) -> Raw | None:
    return Raw(value) if isinstance(value, int | float) else value


def look(at_s: float, zones: Mapping[str, float | Raw | None], **others: object) -> Sample:
    found = {name: one for name, value in zones.items() if (one := raw(value)) is not None}
    values: dict[str, object] = {"fan_rpm": Raw(1500.0), "duty_pct": Raw(50.0), **others}
    return Sample(at_ns=round(at_s * NS), zones_c=found, **values)  # type: ignore[arg-type]


class Judging:
    """A judge that looks once a second."""

    def __init__(self, rules: Rules = RULES) -> None:
        self.rules, self.state, self.at_s = rules, JudgeState(), 100.0

    def see(
        self, tj: float | Raw | None, cpu: float | Raw | None = 50.0, gpu: float | Raw | None = 50.0, **others: object
    ) -> Readings:
        self.at_s += 1.0
        sample = look(self.at_s, {"tj": tj, "cpu": cpu, "gpu": gpu}, **others)
        self.state, readings = judge(self.rules, self.state, sample, sample.at_ns)
        return readings
