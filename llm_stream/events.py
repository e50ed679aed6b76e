"""What a stream consists of: the vocabulary of the log and of every wire."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar
from typing import Literal

import msgspec

Status = Literal[
    "completed",  # the model said all it wanted
    "incomplete",  # cut by its length, or by a content filter
    "cancelled",  # somebody stopped it
    "abandoned",  # all readers have gone
    "failed",
    "timed_out",
    "over_budget",
    "interrupted",  # shutdown, or a lost worker
]

WHOLE: tuple[Status, ...] = ("completed", "incomplete")
"""The endings of an answer that came to its end."""

Source = Literal[
    "provider",  # the provider's final figures
    "partial",  # the provider's figures, from before the end
    "estimated",  # counted here, by a tokenizer
    "none",  # refused before anything was bought
    "unknown",
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One entry of a log. A field that is None is not written."""

    type: ClassVar[str]


class Start(Event, frozen=True):
    """First, once; sent before the upstream is called. `created` is in Unix seconds.

    `model` is None where nobody has said what an iterable of the app's stands for.
    """

    type = "start"
    id: str
    model: str | None = None
    created: int = -1  # always given; a field after one with a default needs one, too


class Delta(Event, frozen=True):
    """Text of the answer."""

    type = "delta"
    text: str


class Reasoning(Event, frozen=True):
    """Text of the model's thinking."""

    type = "reasoning"
    text: str


class Refusal(Event, frozen=True):
    """Text in which the model declines."""

    type = "refusal"
    text: str


class ToolCall(Event, frozen=True):
    """A fragment of a call that the model wants made; `id` and `name` come with its first one only."""

    type = "tool_call"
    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


class Reset(Event, frozen=True):
    """All text so far is void: a retry took over."""

    type = "reset"
    reason: str


class Failure(Event, frozen=True):
    """Why the stream ends badly; at most once, before `usage`. `retry_after` is in seconds."""

    type = "failure"
    code: str
    message: str
    retryable: bool
    error_id: str
    retry_after: float | None = None


class Usage(Event, frozen=True):
    """What it took; once, before `done`. Unknown is absent, never 0.

    `cache_write_tokens` are known to the price and the record only: readers are not told.
    """

    type = "usage"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    source: Source | None = None
    cost: Decimal | None = None
    currency: str | None = None
    cache_write_tokens: int | None = None


class Done(Event, frozen=True):
    """Last, exactly once, always."""

    type = "done"
    status: Status
    finish_reason: str | None = None


KINDS: dict[str, type[Event]] = {
    kind.type: kind for kind in (Start, Delta, Reasoning, Refusal, ToolCall, Reset, Failure, Usage, Done)
}

CONTENT = frozenset((Delta, Reasoning, Refusal, ToolCall))
"""The events that a model's own words arrive in."""
