"""The twin's copy: each finished fragment goes to the other node at once, over mutual TLS."""
