"""Between rows and objects: named rows, results, entities, the identity map."""

OPEN = ("rows", "results", "entity", "identity", "objects", "values", "json", "copying", "targets")
"""The files that other rooms may use."""
