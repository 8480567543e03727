"""Two nodes and a rack in network namespaces, faults, and a judge of what came of them."""
