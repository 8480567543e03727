"""The installer that runs on the node, out of our own wheel. Standard library and :mod:`touchline.errors` only."""
