"""Text and parameters: SQL cut into tokens, placeholders in the driver's form, and what a statement does, by its words."""

OPEN = ("lexer", "parameters", "template", "words")
"""The files that other rooms may use."""
