"""Between rows and objects: named rows, results, entities, the identity map."""

OPEN = ("rows", "results", "entity", "identity", "objects", "values", "json")
"""The files that other rooms may use."""
