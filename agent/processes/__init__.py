"""The agent's children: one capture and one inference process per camera, one publisher, one clock with PTP."""
