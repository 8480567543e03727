"""Cameras: the port and its backends."""
