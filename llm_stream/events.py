"""The events of a stream. Logs store them; wires encode them for readers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
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
"""The statuses of an answer that the model finished, or that a limit cut off."""

UsageSource = Literal[
    "provider",  # the provider's final figures
    "partial",  # the provider's latest figures of an unfinished answer
    "estimated",  # counted here with a tokenizer
    "none",  # no provider accepted a call
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
    """A fragment of a tool call. Only its first fragment has `id`, `name` and `server`.

    `server`: the tool runs on the server, so the reader must not run it. `opaque` may be on any fragment. It has the
    provider's own fields of the call, which must be sent back with the call.
    """

    type = "tool_call"
    index: int
    arguments: str
    id: str | None = None
    name: str | None = None
    server: bool = False
    opaque: dict[str, Any] | None = None


class ToolResult(Event, frozen=True):
    """The outcome of a tool that ran on the server: its `result`, or the `error` that the model was given.

    `id` and `name` identify the call. If a reader has just approved the call, it belongs to an earlier stream.
    `result` is JSON. If there is an error, `result` is UNSET, because None is a valid result.
    """

    type = "tool_result"
    id: str
    name: str
    result: Any = msgspec.UNSET
    error: str | None = None


class Approval(Event, frozen=True):
    """A call that waits for the reader's approval. It comes after the call's arguments; then the stream ends.

    `id` is the id of the approval: the reader's next request has the decision under this id. `call_id` is the id of the
    call.
    """

    type = "approval"
    id: str
    call_id: str
    name: str


class Step(Event, frozen=True):
    """Another model call begins, because tools have returned. `number` starts at 2: the first call has no event."""

    type = "step"
    number: int


class Source(Event, frozen=True):
    """A citation. `start` and `end` delimit the cited passage in the step's text, in characters."""

    type = "source"
    url: str
    title: str | None = None
    start: int | None = None
    end: int | None = None


class File(Event, frozen=True):
    """An image or a document that belongs to the answer. `url` is an https: or a data: URL."""

    type = "file"
    url: str
    media_type: str
    name: str | None = None


class Data(Event, frozen=True):
    """The app's own JSON, under a name. A later event with the same `name` and `id` replaces it.

    `transient`: the event is for current readers only and not part of the answer.
    """

    type = "data"
    name: str
    data: Any
    id: str | None = None
    transient: bool = False


class Partial(Event, frozen=True):
    """The answer's JSON so far, if a schema was requested. A later `Partial` replaces it.

    `whole`: the value is the complete answer and matches the schema. A `Step` or `Reset` voids all earlier ones.
    """

    type = "partial"
    value: Any
    whole: bool = False


class Opaque(Event, frozen=True):
    """The provider's own fields, which must be sent back with the message that ends here. At most once per step.

    `fields` are fields of the message. `reasoning` is the provider's field name for the reasoning, if it sent any.
    """

    type = "opaque"
    fields: dict[str, Any] = {}
    reasoning: str | None = None


class Reset(Event, frozen=True):
    """Discard all content so far: a retry starts the answer again."""

    type = "reset"
    reason: str


class Failure(Event, frozen=True):
    """Why the stream failed. At most once, before `usage`. `retry_after` is in seconds."""

    type = "failure"
    code: str
    message: str
    retryable: bool
    error_id: str
    retry_after: float | None = None


class Usage(Event, frozen=True):
    """Tokens and cost. Once, before `done`. An unknown figure is None, never 0.

    `cache_write_tokens` is for the price and the record only. Readers never get it.
    """

    type = "usage"
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_tokens: int | None = None
    reasoning_tokens: int | None = None
    source: UsageSource | None = None
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
    kind.type: kind
    for kind in (
        Start, Delta, Reasoning, Refusal, ToolCall, ToolResult, Approval, Step, Source, File, Data, Partial, Opaque,
        Reset, Failure, Usage, Done,
    )
}  # fmt: skip

OUTPUT = frozenset((Delta, Reasoning, Refusal, ToolCall))
"""The events that carry the model's tokens."""

CONTENT = OUTPUT | {ToolResult, Approval, Source, File, Data}
"""The events that carry the answer."""
