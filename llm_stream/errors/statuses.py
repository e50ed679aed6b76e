"""The HTTP status of each code that an error, or an early end, may have."""

from __future__ import annotations

from . import LLMStreamError

CLIENT_CLOSED_REQUEST = 499
"""Nobody is there to read it, or wants to; the name and the number are nginx's."""


def status_of(code: str) -> int:
    return STATUSES.get(code, LLMStreamError.status)


def _statuses(tree: type[LLMStreamError]) -> dict[str, int]:
    statuses = {tree.code: tree.status}
    for branch in tree.__subclasses__():
        statuses |= _statuses(branch)
    return statuses


STATUSES = _statuses(LLMStreamError) | dict.fromkeys(("cancelled", "abandoned"), CLIENT_CLOSED_REQUEST)
