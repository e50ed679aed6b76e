"""Reads an AG-UI run: its messages and tools become a `ChatRequest`.

`state` and `context` are ignored. An app that wants them in the prompt adds them in its own view.
"""

from __future__ import annotations

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
from .native import MAX_TOOLS
from .reading import json_object

OPTIONS = ("model", "temperature", "max_output_tokens")
"""The fields of `forwardedProps` that are used."""

IGNORED_ROLES = ("reasoning", "activity")

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^(?!/)[^\x00-\x1f\x7f]*\Z")]
"""Must be usable in a URL path."""


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str


class _ToolCall(msgspec.Struct):
    id: Annotated[str, msgspec.Meta(min_length=1)]
    function: _Function


class _Source(msgspec.Struct, rename="camel"):
    type: str
    value: str
    mime_type: str = ""


class _Part(msgspec.Struct):
    type: str
    text: str = ""
    source: _Source | None = None


class _Message(msgspec.Struct, rename="camel"):
    role: str
    content: Any = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    error: str | None = None


class _Tool(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str = ""
    parameters: dict[str, Any] | None = None


class _Body(msgspec.Struct, rename="camel"):
    thread_id: Id
    run_id: Id
    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=MAX_TOOLS)] = []
    forwarded_props: dict[str, Any] | None = None


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
        messages = list(_converted(parsed.messages))
    except (msgspec.ValidationError, RecursionError) as error:
        raise native.invalid_field(error) from error
    if not messages:
        raise InvalidField("The field 'messages' holds nothing for the model.")
    props = parsed.forwarded_props or {}
    options: dict[str, Any] = {name: props[name] for name in OPTIONS if props.get(name) is not None}
    options["tools"] = [_tool(tool) for tool in parsed.tools]
    request = native.from_fields(options, settings, default_model, messages)
    return Run(request, parsed.thread_id, parsed.run_id, fields["messages"])


def _tool(tool: _Tool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description}
    return {"type": "function", "function": function | ({"parameters": tool.parameters} if tool.parameters else {})}


def _converted(messages: Sequence[_Message]) -> Iterator[Message]:
    answered = {message.tool_call_id for message in messages if message.role == "tool"}
    called: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.role == "user":
            yield {"role": "user", "content": _content(message.content, where)}
        elif message.role == "assistant":
            calls = [call for call in message.tool_calls or () if call.id in answered]
            called |= {call.id for call in calls}
            yield from _assistant_message(_text(message.content), calls)
        elif message.role == "tool":
            if message.tool_call_id not in called:
                raise RequestError(f"The field '{where}.toolCallId' must be the id of a call before it.")
            outcome = message.error or _text(message.content)
            yield {"role": "tool", "tool_call_id": message.tool_call_id, "content": outcome}
        elif message.role not in IGNORED_ROLES:
            raise RequestError(f"The field '{where}.role' must be 'user', 'assistant' or 'tool'.")


def _assistant_message(text: str, calls: Sequence[_ToolCall]) -> Iterator[Message]:
    """`calls` are the answered ones: providers reject calls without an outcome. An empty message is dropped."""
    if calls:
        plain_calls = [{"type": "function"} | msgspec.to_builtins(call) for call in calls]
        yield {"role": "assistant", "content": text or None, "tool_calls": plain_calls}
    elif text:
        yield {"role": "assistant", "content": text}


def _content(content: Any, where: str) -> str | list[dict[str, Any]]:
    """The content of a user's message: a text, or parts."""
    if isinstance(content, str) and content:
        return content
    parts: list[dict[str, Any]] = []
    for index, part in enumerate(_parts(content)):
        if part.type == "text":
            parts.append({"type": "text", "text": part.text})
        else:
            parts.append({"type": "image_url", "image_url": {"url": _image(part, f"{where}.content[{index}]")}})
    if not parts:
        raise InvalidField(f"The field '{where}.content' is missing or empty.")
    return parts


def _image(part: _Part, where: str) -> str:
    source = part.source
    if part.type != "image" or source is None or source.type not in ("url", "data"):
        raise InvalidField(f"The field '{where}' must be text, or an image with its 'url' or its 'data'.")
    url = source.value if source.type == "url" else f"data:{source.mime_type};base64,{source.value}"
    return native.image_url(url, f"{where}.source.value")


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.text for part in _parts(content))


def _parts(content: Any) -> list[_Part]:
    """Raises msgspec's `ValidationError`."""
    return msgspec.convert(content or [], list[_Part])
