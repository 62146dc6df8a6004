"""Lend at most N connections, fairly; and one turn at a time, for those who write to one file."""

OPEN = ("pool", "line", "lease")
"""The files that other rooms may use."""
