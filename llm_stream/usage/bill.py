"""The bill of a stream: the tokens of each upstream attempt, reported or estimated, and their cost."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import localcontext
from itertools import zip_longest
from typing import Any
from typing import get_args

import msgspec

from ..events import OUTPUT
from ..events import Event
from ..events import Reset
from ..events import Step
from ..events import Usage
from ..events import UsageSource
from ..settings import Price
from ..upstream.figures import EXACT
from ..upstream.source import Attempt
from . import estimate
from .price import Cost
from .price import cost_of

logger = logging.getLogger("llm_stream")

FAR_OFF = 1.5
"""If a broken answer has more output tokens than this factor times the reported ones, the report came too early. Then
the tokens are estimated."""

CERTAINTY: tuple[UsageSource, ...] = get_args(UsageSource)
"""The sources, from the most to the least certain."""

COUNTS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cache_write_tokens")

NO_USAGE = Usage(source="none")
"""The usage of a stream without a call that a provider accepted."""


@dataclass(frozen=True)
class Bill:
    charged: Sequence[tuple[Attempt, Usage]]
    """Each attempt that a provider accepted, with its usage."""
    usage: Usage
    """The sum over the attempts. A count that is unknown for one attempt is unknown in the sum."""
    cost: Cost | None
    """None: unknown."""

    def usage_event(self) -> Usage:
        """The `usage` event for the stream's readers."""
        cost = self.cost
        return msgspec.structs.replace(
            self.usage,
            cost=cost.amount if cost else None,
            currency=cost.currency if cost else None,
            cache_write_tokens=None,
        )


UNKNOWN = Bill((), Usage(source="unknown"), None)


def bill_of(
    stream_id: str, attempts: Iterable[Attempt], log: Sequence[Event], prices: Mapping[str, Price], started: datetime
) -> Bill:
    """Bill every attempt that a provider accepted. Providers charge for broken calls, too.

    `log` has the events of the attempts that do not keep their own events. `started` is the start time of the stream.
    It catches all exceptions: the stream must settle even if a tokenizer or a price list fails.
    """
    try:
        charged = _charged([attempt for attempt in attempts if attempt.accepted], log)
        costs = [
            cost_of(usage, attempt.models, prices, attempt.base_url, service_tier=attempt.service_tier, at=started)
            for attempt, usage in charged
        ]
        return Bill(charged, _sum_of([usage for _, usage in charged]), _sum_of_costs(costs))
    except Exception:
        logger.exception(
            "cannot compute the bill of stream %s, so its usage and cost are recorded as unknown", stream_id
        )
        return UNKNOWN


def _charged(accepted: Sequence[Attempt], log: Sequence[Event]) -> list[tuple[Attempt, Usage]]:
    in_log = _written_in(log, [attempt for attempt in accepted if attempt.written is None])
    charged = []
    for attempt in accepted:
        written = in_log[attempt] if attempt.written is None else attempt.written
        charged.append((attempt, _usage_of(attempt, written, _input_of_siblings(attempt, accepted))))
    return charged


def _written_in(log: Sequence[Event], attempts: Sequence[Attempt]) -> dict[Attempt, Sequence[Event]]:
    """The events of each attempt. If several attempts share a segment, only the last of them wrote events."""
    begins = [0, *(at for at, event in enumerate(log) if isinstance(event, (Reset, Step))), len(log)]
    written = {}
    for attempt, following in zip_longest(attempts, attempts[1:]):
        start = begins[min(attempt.segment, len(begins) - 1)]
        end = begins[min(following.segment, len(begins) - 1)] if following else len(log)
        written[attempt] = log[start:end]
    return written


def _input_of_siblings(attempt: Attempt, accepted: Iterable[Attempt]) -> int | None:
    """The provider's input count of another attempt at the same request."""
    siblings = (other.figures for other in accepted if other.asked is attempt.asked and other.figures is not None)
    return next((figures.input_tokens for figures in siblings if figures.input_tokens is not None), None)


def _usage_of(attempt: Attempt, written: Sequence[Event], known_input: int | None) -> Usage:
    figures = attempt.figures or Usage()
    if figures.input_tokens is None and figures.output_tokens is None:  # some providers report only the cost
        estimated = _estimated(attempt, written, known_input)
        return msgspec.structs.replace(estimated, cost=figures.cost, currency=figures.currency)
    if attempt.is_whole or figures.source not in (None, "provider"):
        return msgspec.structs.replace(figures, source=figures.source or "provider")
    output = _estimated_output(attempt, written)
    if output > FAR_OFF * (figures.output_tokens or 0):
        return msgspec.structs.replace(figures, output_tokens=output, cost=None, currency=None, source="estimated")
    return msgspec.structs.replace(figures, source="partial")


def _estimated(attempt: Attempt, written: Sequence[Event], known_input: int | None) -> Usage:
    asked = attempt.asked
    is_known = asked.messages is not None or asked.input_tokens is not None
    if not is_known and OUTPUT.isdisjoint(map(type, written)):
        return Usage(source="unknown")
    if known_input is None:
        known_input = asked.input_tokens if asked.messages is None else estimate.input_tokens(asked.messages)
    return Usage(input_tokens=known_input, output_tokens=_estimated_output(attempt, written), source="estimated")


def _estimated_output(attempt: Attempt, written: Sequence[Event]) -> int:
    output, limit = estimate.output_tokens(written), attempt.asked.max_output_tokens
    return output if limit is None else min(output, limit)


def _sum_of(usages: Sequence[Usage]) -> Usage:
    if not usages:
        return NO_USAGE
    if len(usages) == 1:
        return usages[0]
    counts: dict[str, Any] = {name: sum_if_known([getattr(usage, name) for usage in usages]) for name in COUNTS}
    return Usage(**counts, source=max((usage.source or "unknown" for usage in usages), key=CERTAINTY.index))


def sum_if_known(counts: Sequence[int | None]) -> int | None:
    """None if one of them is unknown."""
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _sum_of_costs(costs: Sequence[Cost | None]) -> Cost | None:
    """None if one of them is unknown, or in another currency."""
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs) or len({cost.currency for cost in known}) > 1:
        return None
    with localcontext(EXACT):
        amount = sum((cost.amount for cost in known[1:]), known[0].amount)
    sources = ", ".join(dict.fromkeys(cost.price_source for cost in known))
    return Cost(amount, known[0].currency, sources, known[0].price_date)
