"""Splits msgspec's validation messages."""

from __future__ import annotations


def split_message(error: Exception) -> tuple[str, str]:
    """Split "Expected `int`, got `str` - at `$.messages[0].role`" into the problem and the field."""
    problem, _, field = str(error).partition(" - at `$")
    return problem, field.rstrip("`").lstrip(".")
