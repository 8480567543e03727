"""A match day on the simulated node under a law: run, figures, picture, command."""
