"""Converts the messages of `useChat`, which consist of parts, to messages of the chat completions API."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Annotated
from typing import Any

import msgspec

from ..chat_request import Decision
from ..chat_request import Message
from ..chat_request import expanded
from ..errors import InvalidField
from ..errors import RequestError
from .conversation import PDF
from .opaque import CallState
from .opaque import MessageState
from .opaque import problem_with
from .reading import image_url

IGNORED_PARTS = ("reasoning-file", "source-url", "source-document", "custom")

Id = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^(?!/)[^\x00-\x1f\x7f]*\Z")]
"""Must be usable in a URL path."""


class Part(msgspec.Struct, rename="camel"):
    """A part of any type; the type determines its fields."""

    type: str
    text: str | None = None
    url: str | None = None
    media_type: str | None = None
    filename: str | None = None
    state: str | None = None
    tool_call_id: str | None = None
    tool_name: str | None = None
    input: Any = None
    output: Any = None
    error_text: str | None = None
    approval: dict[str, Any] | None = None
    provider_metadata: dict[str, Any] | None = None
    call_provider_metadata: dict[str, Any] | None = None

    @property
    def called_tool(self) -> str | None:
        """The tool's name if this part is a tool call."""
        return self.tool_name if self.type == "dynamic-tool" else self.type[5:] if self.type[:5] == "tool-" else None

    def ours(self, name: str) -> dict[str, Any]:
        """The metadata that our wire has put into this part."""
        metadata = self.call_provider_metadata or self.provider_metadata or {}
        ours = metadata.get("llm_stream")
        value = ours.get(name) if isinstance(ours, dict) else None
        return value if isinstance(value, dict) else {}


class UIMessage(msgspec.Struct):
    role: str
    parts: list[Part]
    id: Id = ""


def approvals_in(messages: Sequence[UIMessage]) -> dict[str, Decision]:
    """The calls that the last message approves. A denied call is not among them: its part has the outcome already."""
    parts = messages[-1].parts if messages and messages[-1].role == "assistant" else []
    return {str(part.approval["id"]): Decision(True) for part in parts if part.approval and _is_approved(part)}


def converted(messages: Sequence[UIMessage]) -> Iterator[Message]:
    """Raises `RequestError`."""
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if message.role == "user":
            yield {"role": "user", "content": _content(message, where)}
        elif message.role == "assistant":
            _check_parts(message, where)
            for step in _steps(message):
                yield from _step_messages(step, where, may_wait=message is messages[-1])
        else:
            raise RequestError(f"The field '{where}.role' must be 'user' or 'assistant'.")


def _content(message: UIMessage, where: str) -> str | list[dict[str, Any]]:
    """The content of a user's message: a string for a single text part."""
    content: list[dict[str, Any]] = []
    for index, part in enumerate(message.parts):
        if part.type == "text" and part.text:
            content.append({"type": "text", "text": part.text})
        elif part.type == "file":
            content.append(_file(part, f"{where}.parts[{index}]"))
        elif part.type not in ("text", "reasoning") and not _is_ignored(part):
            raise InvalidField(f"The field '{where}.parts[{index}].type' is not allowed in a user's message.")
    if not content:
        raise InvalidField(f"The field '{where}.parts' is empty. Add a text or a file.")
    text = content[0].get("text") if len(content) == 1 else None
    return text or content


def _file(part: Part, where: str) -> dict[str, Any]:
    if part.media_type == "application/pdf":
        if not (part.url or "").startswith(PDF):
            raise InvalidField(f"The field '{where}.url' must be a {PDF} URL.")
        return {
            "type": "file",
            "file": {"file_data": part.url} | ({"filename": part.filename} if part.filename else {}),
        }
    if not (part.media_type or "").startswith("image/"):
        raise InvalidField(f"The field '{where}.mediaType' must be an image type or application/pdf.")
    return {"type": "image_url", "image_url": {"url": image_url(part.url or "", f"{where}.url")}}


def _is_ignored(part: Part) -> bool:
    return part.type in IGNORED_PARTS or part.type.startswith("data-")


def _check_parts(message: UIMessage, where: str) -> None:
    for index, part in enumerate(message.parts):
        known = part.called_tool or part.type in ("text", "file", "reasoning", "step-start") or _is_ignored(part)
        if not known:
            raise InvalidField(f"The field '{where}.parts[{index}].type' is not known.")


def _steps(message: UIMessage) -> Iterator[list[Part]]:
    """Split a message at its `step-start` parts: each step follows the tool calls of the one before."""
    step: list[Part] = []
    for part in message.parts:
        if part.type == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _step_messages(step: Sequence[Part], where: str, *, may_wait: bool) -> Iterator[Message]:
    """Drops calls without an outcome, which providers reject, and empty messages.

    `may_wait`: an approved call is kept, because it is about to run.
    """
    text = "".join(part.text or "" for part in step if part.type == "text")
    calls = []
    for part in step:
        outcome = _outcome(part)
        if part.called_tool and (outcome or (may_wait and _is_approved(part))):
            calls.append(_call(part, where) | outcome)
    if not (text or calls):
        return
    message: dict[str, Any] = {"role": "assistant", "content": text or None}
    if calls:
        message["tool_calls"] = calls
    if opaque := _opaque(step):
        message["opaque"] = opaque
    _check_opaque(message, where)
    yield from expanded(message)


def _opaque(step: Sequence[Part]) -> dict[str, Any]:
    """The provider's own fields of the message, and the reasoning under the provider's name for it."""
    ours: dict[str, Any] = next((found for part in reversed(step) if (found := part.ours("message"))), {})
    fields = ours.get("fields") or {}
    name = ours.get("reasoning")
    reasoning = "".join(part.text or "" for part in step if part.type == "reasoning")
    return ({str(name): reasoning} if name and reasoning else {}) | (fields if isinstance(fields, dict) else {})


def _check_opaque(message: Message, where: str) -> None:
    states = [call["opaque"] for call in message.get("tool_calls", ()) if "opaque" in call]
    try:
        msgspec.convert(states, list[CallState])
        msgspec.convert(message.get("opaque", {}), MessageState)
    except msgspec.ValidationError as error:
        raise InvalidField(
            f"The field '{where}.parts' has providerMetadata that this server did not send: {error}."
        ) from error
    if problem := problem_with([*states, message.get("opaque")]):
        raise InvalidField(f"The providerMetadata in the field '{where}.parts' {problem}.")


def _call(part: Part, where: str) -> dict[str, Any]:
    if not part.tool_call_id:
        raise InvalidField(f"The field 'toolCallId' is missing in a part of '{where}'.")
    arguments = msgspec.json.encode(part.input if part.input is not None else {}).decode()
    call = {"id": part.tool_call_id, "type": "function", "function": {"name": part.called_tool, "arguments": arguments}}
    return call | ({"opaque": opaque} if (opaque := part.ours("opaque")) else {})


def _outcome(part: Part) -> dict[str, Any]:
    """A tool's `result` or `error`; empty if there is neither yet."""
    approval = part.approval or {}
    if part.state == "output-available":
        return {"result": part.output}
    if part.state == "output-error":
        return {"error": part.error_text or "The call failed."}
    if part.state == "output-denied" or (part.state == "approval-responded" and approval.get("approved") is False):
        return {"error": str(approval.get("reason") or "The call was denied.")}
    return {}


def _is_approved(part: Part) -> bool:
    approval = part.approval or {}
    return part.state == "approval-responded" and approval.get("approved") is True and "id" in approval
