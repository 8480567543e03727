"""A rack on this machine: local CA and broker, for the demo, the tests and the benchmarks."""
