"""Clocks that are not here, with physics: oscillators, a PTP hardware clock, its servo, and what they say."""
