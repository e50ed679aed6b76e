"""Private names of other libraries: what is said where one is missing."""

from __future__ import annotations

import logging

logger = logging.getLogger("llm_stream")

_told: set[tuple[str, str]] = set()


def missing(library: str, name: str, consequence: str) -> None:
    """Write one line to the log, however often it is found out. The caller takes its portable way."""
    if (library, name) not in _told:
        _told.add((library, name))
        logger.warning("%s has no %s any more, so %s", library, name, consequence)


def first_missing(thing: object, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if not hasattr(thing, name)), None)
