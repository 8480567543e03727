"""The rack's decisions, pure: no file, socket, thread or clock in here; every time is an argument."""
