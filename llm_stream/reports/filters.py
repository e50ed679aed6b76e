"""Which streams a report is of."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from datetime import timedelta
from typing import Any
from typing import Literal
from typing import get_args

from ..usage.record import storable

Dimension = Literal["day", "model", "owner", "status"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)

DEFAULT_SINCE = "30d"
MOST_DAYS = 3660
"""Ten years: a plot has so many places, and a page is made while others wait for their tokens."""
AGO = re.compile(r"(\d{1,5})([dwmy])")
DAYS_IN = {"d": 1, "w": 7, "m": 30, "y": 365}


class FilterError(ValueError):
    """The message says what may be given instead."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Days are UTC's, and both ends are part of the report. An empty tuple lets all pass.

    `today` is the day of the question: the clock is read once, so that a report is the same before and after midnight.
    """

    today: date
    since: date
    until: date
    models: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()

    @classmethod
    def read(cls, given: Callable[[str], Sequence[str]], today: date) -> Filters:
        """From a query string or a command line: `given` returns what stands under a name. Raises `FilterError`."""
        until = _day(_last(given("until")) or today.isoformat(), today, "until")
        asked = _last(given("since"))
        since = _day(asked, today, "since") if asked else _day(DEFAULT_SINCE, until, "since")
        if since > until:
            raise FilterError(f"'since' is {since}, after 'until', which is {until}.")
        if (until - since).days > MOST_DAYS:
            raise FilterError(f"From 'since' to 'until' there may be {MOST_DAYS} days.")
        return cls(
            today=today,
            since=since,
            until=until,
            models=_all(given("model")),
            owners=_all(given("owner")),
            statuses=_all(given("status")),
        )

    def as_query(self) -> Mapping[str, Any]:
        """The same again, as the query of a URL."""
        lists = {"model": list(self.models), "owner": list(self.owners), "status": list(self.statuses)}
        days = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return days | {name: values for name, values in lists.items() if values}


def dimension(text: str | None, default: Dimension = "day") -> Dimension:
    """Raises `FilterError`."""
    for known in DIMENSIONS:
        if (text or default) == known:
            return known
    raise FilterError(f"'by' must be one of: {', '.join(DIMENSIONS)}.")


def _last(texts: Sequence[str]) -> str:
    return texts[-1].strip() if texts else ""


def _all(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({storable(text) for text in texts if text}))


def _day(text: str, today: date, name: str) -> date:
    """`2026-11-01`, or `7d`: the day that was seven days before `today`, so that the last 168 hours are all in it."""
    try:
        if ago := AGO.fullmatch(text):
            return today - timedelta(days=int(ago[1]) * DAYS_IN[ago[2]])
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise FilterError(f"'{name}' must be a day like 2026-11-01, or a time ago like 7d, 4w, 3m or 1y.") from None
