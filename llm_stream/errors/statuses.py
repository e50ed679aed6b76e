"""The HTTP status for each error code, and for streams that ended early."""

from __future__ import annotations

from . import LLMStreamError

CLIENT_CLOSED_REQUEST = 499
"""The client disconnected or cancelled. nginx defines this name and number."""


def status_of(code: str) -> int:
    return STATUSES.get(code, LLMStreamError.status)


def _statuses(error_class: type[LLMStreamError]) -> dict[str, int]:
    """The statuses by code. If a subclass has the same code as its base class, the status of the base class wins."""
    statuses: dict[str, int] = {}
    for subclass in error_class.__subclasses__():
        statuses |= _statuses(subclass)
    return statuses | {error_class.code: error_class.status}


STATUSES = _statuses(LLMStreamError) | dict.fromkeys(("cancelled", "abandoned"), CLIENT_CLOSED_REQUEST)
