"""From a recorded run to the node's own cooling: fit, its quality, and the gains that follow."""
