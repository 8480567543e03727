"""How fast the fan and how high the clocks: pure."""

from thermal.control.caps import unseen
from thermal.control.duty import line
from thermal.control.faults import CODES
from thermal.control.settings import Settings, caps
from thermal.control.state import ControlState
from thermal.control.step import step, undriven

__all__ = ["CODES", "ControlState", "Settings", "caps", "line", "step", "undriven", "unseen"]
