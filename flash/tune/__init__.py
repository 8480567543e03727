"""Host tuning: interrupts, idle states, socket buffers and the spare encoder (FOV-4..FOV-6)."""
