"""What happened to every frame, into the trace ring (CAP-6)."""

from agent.trace.frame import FrameTrace, pack_frame, read_frame_trace
from agent.trace.tracer import Tracer, open_tracer

__all__ = ["FrameTrace", "Tracer", "open_tracer", "pack_frame", "read_frame_trace"]
