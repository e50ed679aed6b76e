"""What the attempts of a stream come to: the provider's figures, or an estimate of each, and their sum."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import localcontext
from itertools import zip_longest
from typing import get_args

import msgspec

from ..events import Delta
from ..events import Event
from ..events import Reset
from ..events import Source
from ..events import Usage
from ..settings import Price
from ..upstream.figures import EXACT
from ..upstream.source import Attempt
from . import estimate
from .price import Cost
from .price import cost_of

FAR_OFF = 1.5
"""Figures that came with the first words are not those of the answer that broke off: so much more was written since."""

CERTAINTY: tuple[Source, ...] = get_args(Source)
"""From the most certain to the least."""


@dataclass(frozen=True)
class Bill:
    """`charged` has each attempt that a provider accepted, with what it took."""

    charged: Sequence[tuple[Attempt, Usage]]
    usage: Usage
    """The sum. A count that is not known of one attempt is not known at all."""
    cost: Cost | None
    """None: not known."""


UNKNOWN = Bill((), Usage(source="unknown"), None)


def bill_of(attempts: Iterable[Attempt], log: Sequence[Event], prices: Mapping[str, Price], at: datetime) -> Bill:
    """Every attempt that was accepted counts: the provider charges for a call that broke off, too.

    `log` holds the events of those attempts that have kept none themselves. `at` is when the stream began.
    """
    charged = _charged([attempt for attempt in attempts if attempt.accepted], log)
    costs = [
        cost_of(usage, attempt.models, prices, attempt.base_url, service_tier=attempt.service_tier, at=at)
        for attempt, usage in charged
    ]
    return Bill(charged, _sum_of([usage for _, usage in charged]), _cost_of_all(costs))


def _charged(accepted: Sequence[Attempt], log: Sequence[Event]) -> list[tuple[Attempt, Usage]]:
    answers = _split_at_resets(log)
    charged = []
    for attempt, following in zip_longest(accepted, accepted[1:]):
        written: Sequence[Event] = attempt.written or ()
        until = None if following is None else following.resets
        # of the attempts between two resets, the last one wrote what is there
        if attempt.written is None and (until is None or until > attempt.resets):
            written = [event for answer in answers[attempt.resets : until] for event in answer]
        charged.append((attempt, _usage_of(attempt, written, _input_of_siblings(attempt, accepted))))
    return charged


def _split_at_resets(log: Sequence[Event]) -> list[Sequence[Event]]:
    resets = [at for at, event in enumerate(log) if isinstance(event, Reset)]
    return [log[start:end] for start, end in zip([0, *resets], [*resets, len(log)], strict=True)]


def _input_of_siblings(attempt: Attempt, accepted: Iterable[Attempt]) -> int | None:
    """The provider's count of the same question, asked again."""
    for other in accepted:
        if other.asked is attempt.asked and other.figures is not None and other.figures.input_tokens is not None:
            return other.figures.input_tokens
    return None


def _usage_of(attempt: Attempt, written: Sequence[Event], known_input: int | None) -> Usage:
    figures = attempt.figures
    if figures is None:
        return _estimated(attempt, written, known_input)
    if figures.input_tokens is None and figures.output_tokens is None:  # a provider that tells its price only
        estimated = _estimated(attempt, written, known_input)
        return msgspec.structs.replace(estimated, cost=figures.cost, currency=figures.currency)
    if attempt.is_whole or figures.source not in (None, "provider"):
        return msgspec.structs.replace(figures, source=figures.source or "provider")
    output = _bounded(estimate.output_tokens(written), attempt)
    if output > FAR_OFF * (figures.output_tokens or 0):
        return msgspec.structs.replace(figures, output_tokens=output, cost=None, currency=None, source="estimated")
    return msgspec.structs.replace(figures, source="partial")


def _estimated(attempt: Attempt, written: Sequence[Event], known_input: int | None) -> Usage:
    messages = attempt.asked.messages
    if messages is None and not any(isinstance(event, Delta) for event in written):
        return Usage(source="unknown")
    if known_input is None and messages is not None:
        known_input = estimate.input_tokens(messages)
    output = _bounded(estimate.output_tokens(written), attempt)
    return Usage(input_tokens=known_input, output_tokens=output, source="estimated")


def _bounded(output: int, attempt: Attempt) -> int:
    limit = attempt.asked.max_output_tokens
    return output if limit is None else min(output, limit)


def _sum_of(usages: Sequence[Usage]) -> Usage:
    if not usages:
        return Usage(source="none")
    if len(usages) == 1:
        return usages[0]
    return Usage(
        input_tokens=_sum_of_known([usage.input_tokens for usage in usages]),
        output_tokens=_sum_of_known([usage.output_tokens for usage in usages]),
        cached_tokens=_sum_of_known([usage.cached_tokens for usage in usages]),
        reasoning_tokens=_sum_of_known([usage.reasoning_tokens for usage in usages]),
        cache_write_tokens=_sum_of_known([usage.cache_write_tokens for usage in usages]),
        source=max((usage.source or "unknown" for usage in usages), key=CERTAINTY.index),
    )


def _sum_of_known(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _cost_of_all(costs: Sequence[Cost | None]) -> Cost | None:
    """None if one is not known, or in another currency."""
    known = [cost for cost in costs if cost is not None]
    if not known or len(known) < len(costs) or len({cost.currency for cost in known}) > 1:
        return None
    with localcontext(EXACT):
        amount = sum((cost.amount for cost in known[1:]), known[0].amount)
    sources = ", ".join(dict.fromkeys(cost.price_source for cost in known))
    return Cost(amount, known[0].currency, sources, known[0].price_date)
