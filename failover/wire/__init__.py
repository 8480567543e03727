"""What failover says on the network: bytes, authentication, and the node's end of it."""
