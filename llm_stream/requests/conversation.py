"""Validates the messages of `POST /chat`, and converts them into messages of the chat completions API."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..chat_request import Message as PlainMessage
from ..chat_request import expanded
from ..errors import InvalidField
from .opaque import CallState
from .opaque import MessageState
from .opaque import problem_with
from .reading import image_url

ROLES = ("user", "assistant")
"""The roles that a browser's messages may have."""

PDF = "data:application/pdf;base64,"


class _File(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    file_data: str
    filename: str | None = None


class _Part(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One part of a message's content."""

    type: Literal["text", "image_url", "file"]
    text: str | None = None
    image_url: dict[str, str] | None = None
    file: _File | None = None


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str


class _ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    """`result` may be null. A call with neither `result` nor `error` is open."""

    id: Annotated[str, msgspec.Meta(min_length=1)]
    function: _Function
    type: Literal["function"] = "function"
    result: Any = msgspec.UNSET
    error: str | msgspec.UnsetType = msgspec.UNSET
    opaque: CallState | msgspec.UnsetType = msgspec.UNSET

    @property
    def is_open(self) -> bool:
        return self.result is msgspec.UNSET and self.error is msgspec.UNSET


class Message(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    role: str
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    opaque: MessageState | None = None


def plain(messages: Sequence[Message], *, may_decide: bool) -> list[PlainMessage]:
    """The messages to pass on. Raises `InvalidField`.

    Open calls are dropped, because providers refuse them. With `may_decide`, the last message with calls keeps its open
    calls, because the request has the reader's decisions about them.
    """
    for number, message in enumerate(messages):
        _check(message, f"messages[{number}]")
    undecided = next((message for message in reversed(messages) if message.tool_calls), None) if may_decide else None
    kept = [each for message in messages if (each := _without_open_calls(message, undecided))]
    if not kept:
        raise InvalidField("The field 'messages' has no content for the model: add the results of its tool calls.")
    # some servers require the field even if the message has only calls
    return [plain for message in kept for plain in expanded({"content": None} | msgspec.to_builtins(message))]


def _without_open_calls(message: Message, undecided: Message | None) -> Message | None:
    """None if nothing is left."""
    if not message.tool_calls or message is undecided:
        return message
    calls = [call for call in message.tool_calls if not call.is_open]
    if not (calls or message.content or message.refusal):
        return None
    return msgspec.structs.replace(message, tool_calls=calls or None)


def _check(message: Message, where: str) -> None:
    if message.role not in ROLES:
        raise InvalidField(f"The field '{where}.role' must be 'user' or 'assistant'.")
    for name in ("tool_calls", "opaque", "refusal"):
        if getattr(message, name) is not None and message.role != "assistant":
            raise InvalidField(f"The field '{where}.{name}' belongs to the role 'assistant' only.")
    if not (message.content or message.tool_calls or message.refusal):
        raise InvalidField(f"The field '{where}.content' is missing or empty.")
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        _check_part(part, f"{where}.content[{index}]")
    for index, call in enumerate(message.tool_calls or ()):
        if call.result is not msgspec.UNSET and call.error is not msgspec.UNSET:
            raise InvalidField(f"The field '{where}.tool_calls[{index}]' may have a 'result' or an 'error', not both.")
    _check_state(message, where)


def _check_state(message: Message, where: str) -> None:
    states = [call.opaque for call in message.tool_calls or () if call.opaque is not msgspec.UNSET]
    if problem := problem_with([*states, *([message.opaque] if message.opaque else ())]):
        raise InvalidField(f"The field '{where}.opaque' {problem}.")


def _check_part(part: _Part, where: str) -> None:
    if getattr(part, part.type) is None:
        raise InvalidField(f"The field '{where}.{part.type}' is missing, but '{where}.type' requires it.")
    if part.image_url is not None:
        image_url(part.image_url.get("url", ""), f"{where}.image_url.url")
    if part.file is not None and not part.file.file_data.startswith(PDF):
        raise InvalidField(f"The field '{where}.file.file_data' must be a {PDF} URL.")
