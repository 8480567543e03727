"""The agent's children: capture, inference and, if asked, recorder per camera; publisher; if asked, clock and uart."""
