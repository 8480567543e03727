"""The agent's parent process: makes the rings, starts the children, watches them, answers for all of them."""
