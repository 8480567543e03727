"""Cameras of the kernel's V4L2 interface, by plain ioctls; see README.md."""

from agent.camera.v4l2.camera import V4l2Camera, open_camera

__all__ = ["V4l2Camera", "open_camera"]
