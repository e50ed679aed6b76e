"""Reads requests of `useChat` and `useCompletion`: their messages, made of parts, become a `ChatRequest`.

The browser is not trusted: it must not send system messages, or a tool's output without its call.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from ..chat_request import ChatRequest
from ..errors import InvalidField
from ..settings import Settings
from . import native
from .native import MAX_MESSAGES
from .reading import json_object
from .ui_messages import Id
from .ui_messages import UIMessage
from .ui_messages import approvals_in
from .ui_messages import converted

OPTIONS = ("model", "temperature", "max_output_tokens", "response_format", "tools")
"""The fields of the client's `body: {…}` option that are used; others are ignored."""

REGENERATE = "regenerate-message"


class _Body(msgspec.Struct, rename="camel"):
    id: Id | None = None
    messages: Annotated[list[UIMessage], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)] | None = None
    message: UIMessage | None = None
    trigger: str | None = None
    message_id: Id | None = None


BODY = _Body


class Turn(msgspec.Struct, frozen=True):
    """A request, its chat, and the id of the message that the answer continues (None: a new message).

    `digest` is equal for two requests with the same content at the same position of the chat. It is None for a request
    to regenerate an answer.
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
    plain = list(converted(messages)) if messages else None
    request = native.from_fields(options, settings, default_model, plain)
    request = msgspec.structs.replace(request, approvals=approvals_in(messages))
    return Turn(request, parsed.id, _continued_id(parsed, messages), _digest(parsed, messages, request))


def _messages_of(body: _Body) -> Sequence[UIMessage]:
    """The whole chat, or only its last message, which is all that many apps send."""
    if body.message is not None and body.messages is not None:
        raise InvalidField("Send either 'message' or 'messages', not both.")
    return [body.message] if body.message is not None else body.messages or []


def _continued_id(body: _Body, messages: Sequence[UIMessage]) -> str | None:
    """The id of the assistant's message to continue, after the client has run its tools."""
    if body.trigger == REGENERATE or not messages:
        return None
    message = next((message for message in messages if message.id and message.id == body.message_id), messages[-1])
    return message.id or None if message.role == "assistant" else None


def _digest(body: _Body, messages: Sequence[UIMessage], request: ChatRequest) -> str | None:
    if body.trigger == REGENERATE:
        return None
    place = msgspec.json.encode([message.id for message in messages])
    return hashlib.sha256(place + request.fingerprint()).hexdigest()
