"""Validates OpenAI messages: the roles a client may use, and the fields that are passed on.

Clients send earlier answers back with fields that providers reject in a request. Such fields are dropped. The
provider's own fields, which it needs to continue an answer, are passed on unchanged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from typing import Literal

import msgspec

from ..chat_request import Message as PlainMessage
from . import WrongParameter
from .opaque import problem_with
from .reading import is_image_url


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    """Drops the fields that clients add when they assemble fragments, such as `index`."""

    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"
    extra_content: dict[str, Any] | msgspec.UnsetType | None = msgspec.UNSET


class _Part(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str | None = None
    image_url: dict[str, str | None] | None = None
    input_audio: dict[str, str | None] | None = None
    file: dict[str, str | None] | None = None
    refusal: str | None = None


class Message(msgspec.Struct, omit_defaults=True):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    reasoning_details: list[Any] | None = None
    reasoning_items: list[Any] | None = None
    extra_content: dict[str, Any] | None = None


STATE = ("reasoning", "reasoning_content", "reasoning_details", "reasoning_items", "extra_content")


def plain(messages: Sequence[Message], *, may_instruct: bool) -> list[PlainMessage]:
    """The messages to pass on. Raises `WrongParameter`.

    `may_instruct` allows system messages, and results of tool calls that are not in the conversation.
    """
    called: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not may_instruct:
            _check_role(message, called, where)
        _check_content(message, where)
        if message.tool_calls and message.role != "assistant":
            field = f"{where}.tool_calls"
            raise WrongParameter(f"The field '{field}' belongs to the role 'assistant' only.", field)
        called.update(call.id for call in message.tool_calls or ())
        _check_state(message, where)
    plain_messages: list[PlainMessage] = msgspec.to_builtins(messages)
    return plain_messages


def _check_role(message: Message, called: set[str], where: str) -> None:
    if message.role in ("system", "developer"):
        raise WrongParameter(f"The field '{where}.role' cannot be '{message.role}' in a browser.", f"{where}.role")
    if message.role == "tool" and message.tool_call_id not in called:
        field = f"{where}.tool_call_id"
        raise WrongParameter(f"The field '{field}' must be the id of a call in an earlier assistant message.", field)


def _check_content(message: Message, where: str) -> None:
    has_content = message.content is not None or (
        message.role == "assistant" and (message.tool_calls or message.refusal is not None)
    )
    if not has_content:
        raise WrongParameter(f"The field '{where}.content' is missing.", f"{where}.content")
    if message.role == "tool" and not message.tool_call_id:
        raise WrongParameter(f"The field '{where}.tool_call_id' is missing.", f"{where}.tool_call_id")
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        _check_part(part, f"{where}.content[{index}]")


def _check_state(message: Message, where: str) -> None:
    """Only an assistant's message has state. In other messages, these fields are dropped."""
    if message.role != "assistant":
        for name in STATE:
            setattr(message, name, None)
    states = [value for name in STATE if (value := getattr(message, name))]
    states += [call.extra_content for call in message.tool_calls or () if call.extra_content]
    if problem := problem_with(states):
        names = ", ".join(STATE)
        raise WrongParameter(f"The content of {names} in '{where}' {problem}.", where)


def _check_part(part: _Part, where: str) -> None:
    """A part must have the field that its type names. Images and files must be inline or at a public URL."""
    value = getattr(part, part.type)
    if value is None:
        raise WrongParameter(f"The field '{where}.{part.type}' is missing.", f"{where}.{part.type}")
    if part.type == "image_url" and not is_image_url(value.get("url")):
        field = f"{where}.image_url.url"
        raise WrongParameter(f"The field '{field}' must be an https: or data:image/ URL.", field)
    if part.type == "file" and value.get("file_id") is not None:  # any file of the operator's account
        field = f"{where}.file.file_id"
        raise WrongParameter(f"The field '{field}' is not supported: send the file itself as 'file_data'.", field)
