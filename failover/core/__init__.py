"""What failover decides: pure, no socket, no clock."""
