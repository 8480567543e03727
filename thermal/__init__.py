"""Fan, clocks, power rails and protection."""
