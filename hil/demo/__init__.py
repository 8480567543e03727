"""The demo: simulated or recorded cameras, one node, a real broker and the aggregator, all on this machine."""
