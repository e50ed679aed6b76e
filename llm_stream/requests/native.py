"""Validates an untrusted body or query. The result is a `ChatRequest`; a wrong request raises a `RequestError`.

Requests spend the operator's money. So unknown fields are refused, and so are choices that only the operator may make:
instructions to the model, other models, larger answers.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Key
from ..chat_request import Message
from ..chat_request import decisions
from ..errors import InvalidField
from ..errors.validation import split_message
from ..settings import Settings
from . import conversation
from .reading import image_url as image_url
from .reading import json_object
from .response_format import ResponseFormat
from .response_format import options_of

MAX_MESSAGES = 1000
MAX_TOOLS = 128


class _Body(msgspec.Struct):
    messages: Annotated[list[conversation.Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)] | None = None
    prompt: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    model: str | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    tools: Annotated[list[dict[str, Any]], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    response_format: ResponseFormat | None = None
    key: Key | None = None
    approvals: dict[str, Any] | None = None


BODY = _Body
FIELDS = _Body.__struct_fields__


def from_body(body: bytes, settings: Settings, default_model: str) -> ChatRequest:
    """Read a JSON body. Raises `RequestError`, whose message names the field."""
    return from_fields(json_object(body), settings, default_model)


def from_query(query: Mapping[str, str], settings: Settings, default_model: str) -> ChatRequest:
    """Read `?prompt=…[&model][&key]`. Ignores other parameters. Raises `RequestError`."""
    fields = {name: query[name] for name in ("prompt", "model", "key") if name in query}
    return from_fields(fields, settings, default_model)


def from_fields(
    fields: dict[str, Any], settings: Settings, default_model: str, messages: Sequence[Message] | None = None
) -> ChatRequest:
    """Check the fields of a request. `messages` replaces the field for protocols that check their own."""
    _refuse_unknown(fields)
    try:
        body = msgspec.convert(fields, _Body)
    except (msgspec.ValidationError, RecursionError) as error:
        raise invalid_field(error) from error
    return ChatRequest(
        messages=_messages(body) if messages is None else messages,
        model=_model(body.model, settings, default_model),
        max_output_tokens=_max_output_tokens(body.max_output_tokens, settings),
        temperature=body.temperature,
        tools=_tools(body.tools),
        options=options_of(body.response_format),
        key=body.key,
        approvals=decisions(body.approvals or {}),
    )


def _refuse_unknown(fields: Mapping[str, Any]) -> None:
    for name in fields:
        if name not in FIELDS:
            message = f"There is no field {name[:40]!r}."
            for close in difflib.get_close_matches(name[:40], FIELDS, n=1):  # a megabyte would take long
                message += f" Did you mean {close!r}?"
            raise InvalidField(message)


def _messages(body: _Body) -> list[Message]:
    if body.messages is None and body.prompt is None:
        raise InvalidField("The field 'prompt' (a string) or 'messages' (a list) is missing.")
    if body.messages is not None and body.prompt is not None:
        raise InvalidField("Send either 'prompt' or 'messages', not both.")
    if body.prompt is not None:
        return [{"role": "user", "content": body.prompt}]
    assert body.messages is not None
    return conversation.plain(body.messages, may_decide=bool(body.approvals))


def _model(name: str | None, settings: Settings, default_model: str) -> str:
    if name is None or name == default_model or name in settings.models:
        return name or default_model
    allowed = ", ".join(repr(model) for model in dict.fromkeys((default_model, *settings.models)))
    raise InvalidField(f"The field 'model' must be one of: {allowed}.")


def _max_output_tokens(limit: int | None, settings: Settings) -> int:
    if limit is not None and limit > settings.max_output_tokens:
        raise InvalidField(f"The field 'max_output_tokens' must be at most {settings.max_output_tokens}.")
    return limit or settings.max_output_tokens


def _tools(tools: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
    for index, tool in enumerate(tools or ()):
        function = tool.get("function")
        has_name = isinstance(function, dict) and isinstance(function.get("name"), str)
        if tool.get("type") != "function" or not has_name:
            raise InvalidField(f"The field 'tools[{index}]' must be {{'type': 'function', 'function': {{'name': …}}}}.")
    return tools or None


def invalid_field(error: Exception) -> InvalidField:
    """msgspec's error, in a message that begins with the field."""
    problem, field = split_message(error)
    return InvalidField(f"The field '{field}' is wrong: {problem}." if field else f"{problem}.")
