"""Tracking: who is where on the pitch, from frame to frame (INF-3, POS-2..POS-4). See README.md."""

from agent.track.ground import GroundProjector, locate
from agent.track.observe import Counters, Located
from agent.track.tracker import Tracker
from agent.track.tracks import Tracks

__all__ = ["Counters", "GroundProjector", "Located", "Tracker", "Tracks", "locate"]
