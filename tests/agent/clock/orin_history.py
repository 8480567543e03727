"""The history that a synthetic Orin leaves behind, and the drawn example of the operator's page made from it:

python -m tests.agent.clock.orin_history docs/images/clock-plot.svg
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Final

from agent.clock.core import ClockCore, ClockPolicy
from agent.clock.history import History, encode, history_of
from agent.clock.plot import draw
from hil.clock.orin import EPOCH_NS, SyntheticOrin, Trouble
from touchline.timeline import TAI_MINUS_UTC_S, Timebase

SECONDS: Final = 600
LIMIT_NS: Final = 1_000
MASTERS: Final = {"gm-a": "001122.fffe.334455", "gm-b": "00aabb.fffe.ccdd01"}
TROUBLES: Final = (
    Trouble(150.0, silent_s=55.0),  # no pairs: hold-over, longer than the limit allows
    Trouble(320.0, phc_ns=40_000.0),  # the driver resets its clock
    Trouble(450.0, time_ns=-2_300.0, grandmaster="gm-b"),
)


def orin_lines(seconds: int = SECONDS, silent: tuple[int, int] = (390, 405)) -> list[bytes]:
    """A line a second and the events between, as the clock process writes them; none during ``silent`` (restart)."""
    orin = SyntheticOrin(7, seconds, troubles=TROUBLES)
    core = ClockCore(ClockPolicy(limit_ns=LIMIT_NS, servo_ns=250.0))
    lines: list[bytes] = []
    for second in range(seconds):
        at_s = second + 0.137
        view, pair = orin.servo(at_s), orin.pair(at_s)
        core.servo(view)
        if pair is not None:
            core.sample({Timebase.TSC: pair}, view)
        mapping = core.mappings.get(Timebase.TSC)
        base_ns = int(orin.stamp_ns(_at(at_s))[0])
        stamp = None if mapping is None else mapping.at(base_ns)
        time: dict[str, Any] = {"at_ns": int(at_s * 1e9), "boot": "", "ptp_ns": EPOCH_NS + int(at_s * 1e9)}
        for event in core.look(stamp):
            lines.append(encode({**time, "event": event.code, "severity": event.severity, "text": _named(event.text)}))
        if stamp is None or silent[0] <= second < silent[1]:
            continue
        fit = core.fits[Timebase.TSC]
        row = {
            "ptp_ns": stamp.ptp_ns,
            "offset_ns": view.offset_ns if view.follows else None,
            "bound_ns": stamp.bound_ns,
            "state": stamp.state.value,
            "epoch": stamp.epoch,
            "path_delay_ns": 812.0 + 3.0 * (hash((second, 7)) % 7 - 3) + (140.0 if at_s > 450 else 0.0),
            "residual_ns": fit.rms_ns,
            "grandmaster": MASTERS[orin.grandmaster(at_s)],
        }
        lines.append(encode({**time, **row}))
    return lines


def orin_history() -> History:
    """The whole of it, as read from files."""
    return history_of(orin_lines(), SECONDS, 0)


def orin_plot() -> str:
    """The example of the operator's page."""
    return draw(orin_history(), node="orin-a", limit_ns=LIMIT_NS, utc_offset_s=TAI_MINUS_UTC_S)


def _at(at_s: float) -> Any:
    import numpy as np

    return np.array([at_s])


def _named(text: str) -> str:
    for short, identity in MASTERS.items():
        text = text.replace(short, identity)
    return text


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(orin_plot())
