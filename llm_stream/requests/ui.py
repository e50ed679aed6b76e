"""Reads requests of `useChat` and `useCompletion`: their messages, made of parts, become a `ChatRequest`.

The browser is not trusted: it may not send system messages, nor a tool's output without its call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Message
from ..errors import InvalidField
from ..errors import RequestError
from ..settings import Settings
from . import native
from .native import MAX_MESSAGES
from .reading import json_object

OPTIONS = ("model", "temperature", "max_output_tokens", "tools")
"""The fields of the client's `body: {…}` option that are used; others are ignored."""

REGENERATE = "regenerate-message"

IGNORED_PARTS = ("reasoning", "reasoning-file", "source-url", "source-document", "custom")

Id = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^(?!/)[^\x00-\x1f\x7f]*\Z")]
"""Must be usable in a URL path."""


class _Part(msgspec.Struct, rename="camel"):
    """A part of any type; the type determines its fields."""

    type: str
    text: str | None = None
    url: str | None = None
    media_type: str | None = None
    state: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    input: Any = None
    output: Any = None
    error_text: str | None = None
    approval: dict[str, Any] | None = None

    @property
    def called_tool(self) -> str | None:
        """The tool's name if this part is a tool call."""
        return self.tool_name if self.type == "dynamic-tool" else self.type[5:] if self.type[:5] == "tool-" else None


class _Message(msgspec.Struct):
    role: str
    parts: list[_Part]
    id: Id = ""


class _Body(msgspec.Struct, rename="camel"):
    id: Id | None = None
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)] | None = None
    message: _Message | None = None
    trigger: str | None = None
    message_id: Id | None = None


class Turn(msgspec.Struct, frozen=True):
    """A request, its chat, and the id of the message that the answer continues (None: a new message).

    `digest` is equal for two requests that ask the same thing at the same place in the chat. It is None to regenerate
    an answer.
    """

    request: ChatRequest
    chat: str | None
    continued: str | None
    digest: str | None


def from_body(body: bytes, settings: Settings, default_model: str) -> Turn:
    """Read a JSON body. Raises `RequestError`, whose message names the field."""
    fields = json_object(body)
    try:
        parsed = msgspec.convert(fields, _Body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise native.invalid_field(error) from error
    messages = _messages_of(parsed)
    names = OPTIONS if messages else ("prompt", *OPTIONS)
    options = {name: fields[name] for name in names if fields.get(name) is not None}
    converted = list(_converted(messages)) if messages else None
    request = native.from_fields(options, settings, default_model, converted)
    return Turn(request, parsed.id, _continued_id(parsed, messages), _digest(parsed, messages, request))


def _messages_of(body: _Body) -> Sequence[_Message]:
    """The whole chat, or only its last message: many apps send just that."""
    if body.message is not None and body.messages is not None:
        raise InvalidField("Send either 'message' or 'messages', not both.")
    return [body.message] if body.message is not None else body.messages or []


def _continued_id(body: _Body, messages: Sequence[_Message]) -> str | None:
    """The id of the assistant's message to continue, after the client has run its tools."""
    if body.trigger == REGENERATE or not messages:
        return None
    message = next((message for message in messages if message.id and message.id == body.message_id), messages[-1])
    return message.id or None if message.role == "assistant" else None


def _digest(body: _Body, messages: Sequence[_Message], request: ChatRequest) -> str | None:
    if body.trigger == REGENERATE:
        return None
    place = msgspec.json.encode([message.id for message in messages])
    return hashlib.sha256(place + request.fingerprint()).hexdigest()


# Messages


def _converted(messages: Sequence[_Message]) -> Iterator[Message]:
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.role == "user":
            yield {"role": "user", "content": _content(message, where)}
        elif message.role == "assistant":
            _check_parts(message, where)
            for step in _steps(message):
                yield from _step_messages(step, where)
        else:
            raise RequestError(f"The field '{where}.role' must be 'user' or 'assistant'.")


def _content(message: _Message, where: str) -> str | list[dict[str, Any]]:
    """The content of a user's message: a string for a single text part."""
    content: list[dict[str, Any]] = []
    for index, part in enumerate(message.parts):
        if part.type == "text" and part.text:
            content.append({"type": "text", "text": part.text})
        elif part.type == "file":
            content.append({"type": "image_url", "image_url": {"url": _image(part, f"{where}.parts[{index}]")}})
        elif part.type != "text" and not _is_ignored(part):
            raise InvalidField(f"The field '{where}.parts[{index}].type' is not one that a user's message may have.")
    if not content:
        raise InvalidField(f"The field '{where}.parts' says nothing.")
    text = content[0].get("text") if len(content) == 1 else None
    return text or content


def _image(part: _Part, where: str) -> str:
    if not (part.media_type or "").startswith("image/"):
        raise InvalidField(f"The field '{where}.mediaType' must be that of an image.")
    return native.image_url(part.url or "", f"{where}.url")


def _is_ignored(part: _Part) -> bool:
    return part.type in IGNORED_PARTS or part.type.startswith("data-")


def _check_parts(message: _Message, where: str) -> None:
    for index, part in enumerate(message.parts):
        if not (part.called_tool or part.type in ("text", "file", "step-start") or _is_ignored(part)):
            raise InvalidField(f"The field '{where}.parts[{index}].type' is not known.")


def _steps(message: _Message) -> Iterator[list[_Part]]:
    """Split a message at its `step-start` parts: each step follows the tool calls of the one before."""
    step: list[_Part] = []
    for part in message.parts:
        if part.type == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _step_messages(step: Sequence[_Part], where: str) -> Iterator[Message]:
    """Drops calls without an outcome, which providers reject, and empty messages."""
    text = "".join(part.text or "" for part in step if part.type == "text")
    outcomes = [(part, outcome) for part in step if part.called_tool and (outcome := _outcome(part)) is not None]
    if outcomes:
        calls = [_call(part, where) for part, _ in outcomes]
        yield {"role": "assistant", "content": text or None, "tool_calls": calls}
    elif text:
        yield {"role": "assistant", "content": text}
    for part, outcome in outcomes:
        yield {"role": "tool", "tool_call_id": part.tool_call_id, "content": outcome}


def _call(part: _Part, where: str) -> dict[str, Any]:
    if not part.tool_call_id:
        raise InvalidField(f"The field 'toolCallId' is missing in a part of '{where}'.")
    arguments = msgspec.json.encode(part.input if part.input is not None else {}).decode()
    return {"id": part.tool_call_id, "type": "function", "function": {"name": part.called_tool, "arguments": arguments}}


def _outcome(part: _Part) -> str | None:
    """A tool's output or error; None if there is neither yet."""
    approval = part.approval or {}
    if part.state == "output-available":
        return part.output if isinstance(part.output, str) else msgspec.json.encode(part.output).decode()
    if part.state == "output-error":
        return part.error_text or "The call failed."
    if part.state == "output-denied" or (part.state == "approval-responded" and approval.get("approved") is False):
        return str(approval.get("reason") or "The call was denied.")
    return None
