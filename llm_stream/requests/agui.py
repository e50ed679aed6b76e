"""What an AG-UI client sends to run an agent: its messages and tools become those of a ChatRequest.

`state` and `context` are the app's, not the model's: an app that wants them in the prompt puts them there, in a view
of its own.
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
from ..requests.native import MAX_MESSAGES
from ..requests.native import MAX_TOOLS
from ..settings import Settings
from . import native
from .reading import json_object

OPTIONS = ("model", "temperature", "max_output_tokens")
"""What `forwardedProps` may hold for the model."""

NOT_FOR_THE_MODEL = ("reasoning", "activity")

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=r"^(?!/)[^\x00-\x1f\x7f]*\Z")]
"""It must fit into a URL."""


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
    """What is asked, in which run of which thread; and the messages as they came."""

    asked: ChatRequest
    thread: str
    run: str
    conversation: Sequence[dict[str, Any]]


def from_body(body: bytes, settings: Settings, default_model: str) -> Run:
    """Read a JSON body. Raises `RequestError`, whose message names the field."""
    given = json_object(body)
    try:
        read = msgspec.convert(given, _Body)
        messages = list(_converted(read.messages))
    except (msgspec.ValidationError, RecursionError) as error:
        raise native.wrong(error) from error
    if not messages:
        raise InvalidField("The field 'messages' holds nothing for the model.")
    props = read.forwarded_props or {}
    options: dict[str, Any] = {name: props[name] for name in OPTIONS if props.get(name) is not None}
    options["tools"] = [_tool(tool) for tool in read.tools]
    asked = native.from_fields(options, settings, default_model, messages)
    return Run(asked, read.thread_id, read.run_id, given["messages"])


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
            yield from _said(_text(message.content), calls)
        elif message.role == "tool":
            if message.tool_call_id not in called:
                raise RequestError(f"The field '{where}.toolCallId' must be the id of a call before it.")
            outcome = message.error or _text(message.content)
            yield {"role": "tool", "tool_call_id": message.tool_call_id, "content": outcome}
        elif message.role not in NOT_FOR_THE_MODEL:
            raise RequestError(f"The field '{where}.role' must be 'user', 'assistant' or 'tool'.")


def _said(text: str, calls: Sequence[_ToolCall]) -> Iterator[Message]:
    """A call that was never answered is left out, as no provider takes one; so is a message without anything."""
    if calls:
        plain = [{"type": "function"} | msgspec.to_builtins(call) for call in calls]
        yield {"role": "assistant", "content": text or None, "tool_calls": plain}
    elif text:
        yield {"role": "assistant", "content": text}


def _content(given: Any, where: str) -> str | list[dict[str, Any]]:
    """What a user said: a text, or parts."""
    if isinstance(given, str) and given:
        return given
    content: list[dict[str, Any]] = []
    for index, part in enumerate(_parts(given)):
        if part.type == "text":
            content.append({"type": "text", "text": part.text})
        else:
            content.append({"type": "image_url", "image_url": {"url": _image(part, f"{where}.content[{index}]")}})
    if not content:
        raise InvalidField(f"The field '{where}.content' is missing or empty.")
    return content


def _image(part: _Part, where: str) -> str:
    source = part.source
    if part.type != "image" or source is None or source.type not in ("url", "data"):
        raise InvalidField(f"The field '{where}' must be text, or an image with its 'url' or its 'data'.")
    url = source.value if source.type == "url" else f"data:{source.mime_type};base64,{source.value}"
    return native.image_url(url, f"{where}.source.value")


def _text(given: Any) -> str:
    return given if isinstance(given, str) else "".join(part.text for part in _parts(given))


def _parts(given: Any) -> list[_Part]:
    """Raises msgspec's `ValidationError`."""
    return msgspec.convert(given or [], list[_Part])
