"""A virtual Orin: an emulated arm64 machine with real kernel drivers behind every device that the agent touches."""
