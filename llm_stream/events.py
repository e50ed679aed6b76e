"""The events of a stream. Logs store them, wires write them."""

from __future__ import annotations

from decimal import Decimal
from typing import ClassVar
from typing import Literal

import msgspec

Status = Literal[
    "completed",  # the model finished
    "incomplete",  # cut off by the length limit or a content filter
    "cancelled",  # stopped by a client
    "abandoned",  # all readers disconnected
    "failed",
    "timed_out",
    "over_budget",
    "interrupted",  # shutdown, or a dead worker
]

WHOLE: tuple[Status, ...] = ("completed", "incomplete")
"""The statuses of an answer that the model finished, or that its limits cut off."""

Source = Literal[
    "provider",  # the provider's final figures
    "partial",  # the provider's figures from before the end
    "estimated",  # counted here with a tokenizer
    "none",  # nothing was bought
    "unknown",
]


class Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """One entry of a log. Fields that are None are not encoded."""

    type: ClassVar[str]


class Start(Event, frozen=True):
    """The first event, sent before the upstream is called. `created` is in Unix seconds.

    `model` is None for an app's iterable without a declared model.
    """

    type = "start"
    id: str
    model: str | None = None
    created: int = -1  # always set; the default is only there because `model` has one


class Delta(Event, frozen=True):
    """Text of the answer."""

    type = "delta"
    text: str


class Reasoning(Event, frozen=True):
    """Text of the model's reasoning."""

    type = "reasoning"
    text: str


class Refusal(Event, frozen=True):
    """Text of a refusal by the model."""

    type = "refusal"
    text: str


class ToolCall(Event, frozen=True):
    """A fragment of a tool call. Only its first fragment has `id` and `name`."""

    type = "tool_call"
    index: int
    arguments: str
    id: str | None = None
    name: str | None = None


class Reset(Event, frozen=True):
    """Discard all content so far: a retry starts the answer again."""

    type = "reset"
    reason: str


class Failure(Event, frozen=True):
    """Why the stream failed; at most once, before `usage`. `retry_after` is in seconds."""

    type = "failure"
    code: str
    message: str
    retryable: bool
    error_id: str
    retry_after: float | None = None


class Usage(Event, frozen=True):
    """Tokens and cost; once, before `done`. An unknown figure is None, never 0.

    `cache_write_tokens` is for the price and the record only, and never sent to readers.
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

    @property
    def total_tokens(self) -> int | None:
        if self.input_tokens is None or self.output_tokens is None:
            return None
        return self.input_tokens + self.output_tokens


class Done(Event, frozen=True):
    """The last event of every stream."""

    type = "done"
    status: Status
    finish_reason: str | None = None


KINDS: dict[str, type[Event]] = {
    kind.type: kind for kind in (Start, Delta, Reasoning, Refusal, ToolCall, Reset, Failure, Usage, Done)
}

CONTENT = frozenset((Delta, Reasoning, Refusal, ToolCall))
"""The events that carry the model's output."""
