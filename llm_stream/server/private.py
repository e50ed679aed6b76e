"""Warns about missing private names of other libraries. A new version of a library may have renamed them."""

from __future__ import annotations

import logging

logger = logging.getLogger("llm_stream")

SLOW_TOKENS = "tokens take the portable path, which uses more CPU"

_reported: set[tuple[str, str]] = set()


def warn_missing(library: str, name: str, consequence: str) -> None:
    """Log one warning per name, however often this is called. The caller falls back to portable code."""
    if (library, name) not in _reported:
        _reported.add((library, name))
        logger.warning("this version of %s has no %s, so %s", library, name, consequence)


def has_names(thing: object, names: tuple[str, ...], library: str, owner: str, consequence: str) -> bool:
    """Whether the object has all these attributes. Warns about the first missing one as `owner.name`."""
    name = next((name for name in names if not hasattr(thing, name)), None)
    if name is not None:
        warn_missing(library, f"{owner}.{name}", consequence)
    return name is None
