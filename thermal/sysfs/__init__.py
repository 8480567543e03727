"""The real board: the kernel's files for zones, fan, clocks, rails and over-current counters."""
