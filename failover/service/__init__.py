"""The resident failover service: sockets, timers and hands for what :mod:`failover.core` decides."""
