"""The node's cooling, simulated and replayed: boards of :mod:`thermal.types` without hardware."""
