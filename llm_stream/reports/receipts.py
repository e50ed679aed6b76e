"""Parses a provider's usage export: CSV with known column names.

OpenRouter's activity export has a row per request (`generation_id`, `created_at`, `tokens_prompt`, `tokens_completion`,
`cost_total`). OpenAI's have no request ids: its usage export has sums by minute, hour or day (`start_time_iso`,
`input_tokens`, `output_tokens`, `num_model_requests`), its cost export sums by day (`amount_value`, `amount_currency`).
Any other file needs a `request_id` or a day, and `input_tokens`, `output_tokens` or `cost`.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC
from datetime import datetime
from decimal import Decimal
from decimal import InvalidOperation
from itertools import chain
from typing import TextIO

from ..usage.record import storable

COLUMNS: Mapping[str, Sequence[str]] = {
    "request_id": ("request_id", "x_request_id", "generation_id", "response_id", "id"),
    "when": ("start_time_iso", "created_at", "started", "timestamp", "datetime", "date", "day", "time", "start_time"),
    "model": ("model", "model_permaslug", "model_name", "snapshot_id"),
    "requests": ("num_model_requests", "requests", "n_requests", "request_count"),
    "input_tokens": ("input_tokens", "tokens_prompt", "prompt_tokens", "n_context_tokens_total"),
    "output_tokens": ("output_tokens", "tokens_completion", "completion_tokens", "n_generated_tokens_total"),
    "cost": ("cost", "cost_total", "total_cost", "cost_usd", "amount_value", "amount_usd", "amount", "usage"),
    "currency": ("currency", "amount_currency"),
}
DELIMITERS = ",;\t"
GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
"""1,234,567.89. A comma at any other place may be a decimal comma, so such a number is refused."""
FIGURES = ("input_tokens", "output_tokens", "cost")


class ReceiptError(ValueError):
    """The file cannot be read. The message names the problem and the line."""


@dataclass(frozen=True)
class Receipt:
    """A provider's figures for one request, or for all requests of a period. Missing ones are None."""

    request_id: str | None
    day: str | None
    model: str | None
    requests: int | None
    input_tokens: int | None
    output_tokens: int | None
    cost: Decimal | None
    currency: str


def read(file: TextIO, currency: str) -> tuple[list[Receipt], dict[str, str]]:
    """The receipts, and the column of each of their fields. Raises `ReceiptError`."""
    try:
        return _read(file, currency)
    except csv.Error as error:
        raise ReceiptError(f"The file is not CSV: {error}.") from error


def _read(file: TextIO, currency: str) -> tuple[list[Receipt], dict[str, str]]:
    first = file.readline()
    if not first:
        raise ReceiptError("The file is empty. Export the usage again.")
    lines = csv.reader(chain([first], file), delimiter=max(DELIMITERS, key=first.count), strict=True)
    header = [name.strip().lower().replace(" ", "_").lstrip("\ufeff") for name in next(lines)]
    places = dict(_places(header))
    if not places.keys() & set(FIGURES) or not places.keys() & {"request_id", "when"}:
        raise ReceiptError(
            "The file has no columns to compare. It needs a request id or a day, and tokens or a cost."
            f" Its columns are: {', '.join(header)}."
        )
    receipts = []
    for number, line in enumerate(lines, 2):
        fields = {name: line[at].strip() if at < len(line) else "" for name, at in places.items()}
        if any(fields.get(name) for name in FIGURES):  # OpenAI's exports also have lines for periods without requests
            receipts.append(_receipt(fields, number, currency))
    return receipts, {name: header[at] for name, at in places.items()}


def _places(header: Sequence[str]) -> Iterator[tuple[str, int]]:
    """Our fields, and the index of the first known column for each."""
    for name, candidates in COLUMNS.items():
        if column := next((candidate for candidate in candidates if candidate in header), None):
            yield name, header.index(column)


def _receipt(fields: Mapping[str, str], number: int, currency: str) -> Receipt:
    try:
        return Receipt(
            request_id=storable(fields.get("request_id") or None),
            day=_day(fields["when"]) if fields.get("when") else None,
            model=fields.get("model") or None,
            requests=_count(fields.get("requests")),
            input_tokens=_count(fields.get("input_tokens")),
            output_tokens=_count(fields.get("output_tokens")),
            cost=_amount(fields.get("cost")),
            currency=(fields.get("currency") or currency).upper(),
        )
    except (ValueError, OverflowError) as error:
        raise ReceiptError(f"Line {number} cannot be read: {error}.") from error


def _day(text: str) -> str:
    """The UTC day of an ISO time, with or without a zone, or of seconds since 1970."""
    if text.replace(".", "", 1).isdigit() and len(text.partition(".")[0]) >= 9:
        when = datetime.fromtimestamp(float(text), UTC)
    else:
        when = datetime.fromisoformat(text)
    if not 1970 < when.year < 9999:
        raise ValueError(f"{text!r} is not a valid time")
    return (when.astimezone(UTC) if when.tzinfo else when).date().isoformat()


def _count(text: str | None) -> int | None:
    if not text:
        return None
    count = _number(text)
    if count != int(count):
        raise ValueError(f"{text!r} is not a whole number")
    return int(count)


def _amount(text: str | None) -> Decimal | None:
    return _number(text.lstrip("$")) if text else None


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.replace(",", "") if GROUPED.fullmatch(text) else text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a number; write decimals like 0.001") from None
    if not number.is_finite():
        raise ValueError(f"{text!r} is no number")
    return number
