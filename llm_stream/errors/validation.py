"""What msgspec says of a value that does not fit."""

from __future__ import annotations


def what_and_where(error: Exception) -> tuple[str, str]:
    """msgspec says "Expected `int`, got `str` - at `$.messages[0].role`". Returns what it expected, and the field."""
    what, _, where = str(error).partition(" - at `$")
    return what, where.rstrip("`").lstrip(".")
