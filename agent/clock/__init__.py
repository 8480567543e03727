"""The node's clock: from the camera's own time to PTP time, with a bound that is true (CLK-1)."""
