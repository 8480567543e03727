"""The fixture of real ptp4l processes."""

from tests.agent.clock.ptp_net import ptp_net

__all__ = ["ptp_net"]
