"""The fan service: look, judge, decide, write, tell; at every tick and in time."""
