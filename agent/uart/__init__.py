"""The serial line: one line of text a frame, with its best box, at 1 Mbaud (MSG-4)."""
