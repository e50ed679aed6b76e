"""The filters of a report, parsed from a query string or a command line."""

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
"""Ten years. A longer report would take too much CPU time from the streams."""
AGO = re.compile(r"(\d{1,5})([dwmy])")
DAYS_IN = {"d": 1, "w": 7, "m": 30, "y": 365}


class FilterError(ValueError):
    """A filter has a wrong value. The message names the allowed values."""


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Days are in UTC, and both ends are included. An empty tuple means no filter.

    `today` is the day of the request. The clock is read once, so that a report is consistent around midnight.
    """

    today: date
    since: date
    until: date
    models: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    statuses: tuple[str, ...] = ()

    @classmethod
    def read(cls, get_all: Callable[[str], Sequence[str]], today: date) -> Filters:
        """`get_all` returns the values of a parameter. Raises `FilterError`."""
        until = _day(_last(get_all("until")) or today.isoformat(), today, "until")
        first = _last(get_all("since"))
        since = _day(first, today, "since") if first else _day(DEFAULT_SINCE, until, "since")
        if since > until:
            raise FilterError(f"'since' ({since}) must not be after 'until' ({until}).")
        if (until - since).days > MOST_DAYS:
            raise FilterError(f"A report covers at most {MOST_DAYS} days: move 'since' closer to 'until'.")
        return cls(
            today=today,
            since=since,
            until=until,
            models=_all(get_all("model")),
            owners=_all(get_all("owner")),
            statuses=_all(get_all("status")),
        )

    def as_query(self) -> Mapping[str, Any]:
        """The filters as the query of a URL."""
        lists = {"model": list(self.models), "owner": list(self.owners), "status": list(self.statuses)}
        days = {"since": self.since.isoformat(), "until": self.until.isoformat()}
        return days | {name: values for name, values in lists.items() if values}


def dimension(text: str | None, default: Dimension = "day") -> Dimension:
    """Raises `FilterError`."""
    for name in DIMENSIONS:
        if (text or default) == name:
            return name
    raise FilterError(f"'by' must be one of: {', '.join(DIMENSIONS)}.")


def _last(texts: Sequence[str]) -> str:
    return texts[-1].strip() if texts else ""


def _all(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({storable(text) for text in texts if text}))


def _day(text: str, today: date, name: str) -> date:
    """Parse `2026-11-01`, or `7d`: seven days before `today`, so that all of the last 168 hours are included."""
    try:
        if ago := AGO.fullmatch(text):
            return today - timedelta(days=int(ago[1]) * DAYS_IN[ago[2]])
        return date.fromisoformat(text)
    except (ValueError, OverflowError):
        raise FilterError(f"'{name}' must be a day like 2026-11-01, or an age like 7d, 4w, 3m or 1y.") from None
