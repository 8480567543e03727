"""Touchline: the vocabulary every room shares, and the command shell. Importing it loads nothing heavy."""

__version__ = "0.1.0"
