"""What the node draws and what its over-current counters say: pure."""

from thermal.power.counters import CounterState, count
from thermal.power.hold import HoldState, Limit, hold
from thermal.power.total import Total, total
from thermal.power.watch import CODES, NOT_HOT, PowerRules, PowerState, watch

__all__ = [
    "CODES",
    "NOT_HOT",
    "CounterState",
    "HoldState",
    "Limit",
    "PowerRules",
    "PowerState",
    "Total",
    "count",
    "hold",
    "total",
    "watch",
]
