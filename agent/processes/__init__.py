"""The agent's children: capture, inference and (if asked) recorder per camera, one publisher, one clock with PTP."""
