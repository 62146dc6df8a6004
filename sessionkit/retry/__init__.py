"""A whole transaction again, where that is safe; and what became of a COMMIT that nobody answered."""

OPEN = ("policy", "run")
"""The files that other rooms may use."""
