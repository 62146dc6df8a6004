"""One unit of work, from its beginning to its end: sessions, transactions, and their hold on each database."""

OPEN = ("session", "block", "context", "link", "external", "cleanup", "marker", "twophase")
"""The files that other rooms may use."""
