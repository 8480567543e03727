"""What rides in the virtual node: our agent as systemd starts it, with a tiny engine on the node's own camera."""
