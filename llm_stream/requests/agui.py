"""Reads an AG-UI run: its messages and tools become a `ChatRequest`, its `resume` becomes the decisions about calls.

`state` and `context` are ignored. To put them into the prompt, an app uses its own view.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Decision
from ..chat_request import expanded
from ..errors import InvalidField
from ..settings import Settings
from . import native
from .agui_messages import Message
from .agui_messages import native_messages
from .native import MAX_MESSAGES
from .native import MAX_TOOLS
from .reading import json_object

OPTIONS = ("model", "temperature", "max_output_tokens", "response_format")
"""The fields of `forwardedProps` that are used. Others are ignored."""

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^(?!/)[^\x00-\x1f\x7f]*\Z")]
"""Must be usable in a URL path."""


class _Tool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """An answer to an interrupt. `editedArgs` is refused: the call runs with the arguments that the model gave."""

    approved: bool
    reason: str | None = None


class _Resume(msgspec.Struct, rename="camel"):
    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = None


class _Body(msgspec.Struct, rename="camel"):
    thread_id: Id
    run_id: Id
    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=MAX_TOOLS)] = []
    forwarded_props: dict[str, Any] | None = None
    resume: Annotated[list[_Resume], msgspec.Meta(max_length=MAX_TOOLS)] | None = None


BODY = _Body


class Run(msgspec.Struct, frozen=True):
    """A run of a thread. `conversation` holds the messages exactly as the client sent them."""

    request: ChatRequest
    thread: str
    run: str
    conversation: Sequence[dict[str, Any]]


def from_body(body: bytes, settings: Settings, default_model: str) -> Run:
    """Read a JSON body. Raises `RequestError`, whose message names the field."""
    fields = json_object(body)
    try:
        parsed = msgspec.convert(fields, _Body)
        approvals = dict(_decisions(parsed.resume or ()))
        messages = native_messages(parsed.messages, keeps_open=bool(approvals))
    except (msgspec.ValidationError, RecursionError) as error:
        raise native.invalid_field(error) from error
    if not messages:
        raise InvalidField("The field 'messages' has no content for the model. Add a message from the user.")
    props = parsed.forwarded_props or {}
    options: dict[str, Any] = {name: props[name] for name in OPTIONS if props.get(name) is not None}
    options["tools"] = [_tool(tool) for tool in parsed.tools]
    plain = [each for message in messages for each in expanded(message)]
    request = native.from_fields(options, settings, default_model, plain)
    request = msgspec.structs.replace(request, approvals=approvals)
    return Run(request, parsed.thread_id, parsed.run_id, fields["messages"])


def _tool(tool: _Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description}
    return {"type": "function", "function": function | ({"parameters": tool.parameters} if tool.parameters else {})}


def _decisions(resume: Sequence[_Resume]) -> Iterator[tuple[str, Decision]]:
    """A cancelled interrupt denies its call."""
    for number, answered in enumerate(resume):
        if answered.status == "cancelled":
            yield answered.interrupt_id, Decision(approved=False)
            continue
        try:
            answer = msgspec.convert(answered.payload, _Answer)
        except msgspec.ValidationError as error:
            raise InvalidField(
                f"The field 'resume[{number}].payload' must be {{'approved': true or false, 'reason'?}}."
            ) from error
        yield answered.interrupt_id, Decision(answer.approved, answer.reason)
