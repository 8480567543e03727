"""Heartbeat, lease and takeover."""
