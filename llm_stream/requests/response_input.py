"""Reads the `input` of the Responses API and converts its items to messages of the chat completions API.

https://platform.openai.com/docs/api-reference/responses/create#responses-create-input
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..chat_request import Decision
from ..chat_request import Message
from ..chat_request import tool_message
from ..wire.response_output import APPROVAL
from ..wire.response_state import decoded
from . import WrongParameter
from .messages import STATE
from .opaque import MessageState
from .opaque import problem_with
from .response_item import Item
from .response_item import content_of
from .response_item import converted
from .response_item import error_of
from .response_item import of_assistant

Find = Callable[[str], Mapping[str, Any] | None]
"""Finds an item of an earlier response by its id; None if the item has expired."""

IGNORED = ("mcp_list_tools", "image_generation_call", "web_search_call", "file_search_call", "code_interpreter_call")
"""Types of items that have no counterpart in the chat completions API."""


class Conversation:
    """Collects items as messages."""

    def __init__(self, messages: Sequence[Message], find: Find, *, may_instruct: bool) -> None:
        """The items continue `messages`. `may_instruct` allows system messages. All methods raise `WrongParameter`."""
        self._messages: list[Message] = list(messages)
        self._find = find
        self._may_instruct = may_instruct
        self._answer: dict[str, Any] | None = None
        self._results: list[Message] = []
        self._calls = dict.fromkeys(_open_calls(messages), "previous_response_id")
        """Calls without a result: the id of each, and the item that made it."""
        self._servers_calls = set(self._calls)
        self._approvals: dict[str, Decision] = {}
        self._decided: set[str] = set()

    def add(self, fields: Mapping[str, Any], where: str) -> None:
        """`where` is the item's path in the request, for error messages."""
        item = converted(fields, where)
        if item.type == "item_reference":
            found = self._find(item.id or "")
            if found is None:
                raise WrongParameter(
                    f"The item '{(item.id or '')[:100]}' of '{where}' has expired. Send the whole item.", where
                )
            item = converted(found, where)
        add = {
            "message": self._message,
            "function_call": self._function_call,
            "function_call_output": self._function_call_output,
            "reasoning": self._reasoning,
            "mcp_call": self._mcp_call,
            "mcp_approval_request": self._approval_request,
            "mcp_approval_response": self._approval_response,
        }.get(item.type)
        if add is not None:
            add(item, where)
        elif item.type not in IGNORED:
            raise WrongParameter(f"Items of the type '{item.type[:100]}' are not supported here.", f"{where}.type")

    def messages(self) -> tuple[list[Message], dict[str, Decision]]:
        """The whole conversation, and the reader's decisions about calls."""
        self._flush()
        for call_id, where in self._calls.items():
            if call_id not in self._servers_calls:
                raise WrongParameter(f"No tool output found for function call {call_id}.", where)
        undecided = self._calls.keys() - self._decided
        messages = [kept for message in self._messages if (kept := _without(message, undecided))]
        if not messages:
            raise WrongParameter("The parameter 'input' is empty.", "input")
        return messages, self._approvals

    # Messages

    def _message(self, item: Item, where: str) -> None:
        if item.role in ("system", "developer") and not self._may_instruct:
            raise WrongParameter(f"The field '{where}.role' cannot be '{item.role}' in a browser.", f"{where}.role")
        if item.role is None or item.content is None:
            missing = "role" if item.role is None else "content"
            raise WrongParameter(f"The field '{where}.{missing}' is missing.", f"{where}.{missing}")
        if item.role == "assistant":
            answer = self._begin_answer(is_new=self._answer is not None and _says_something(self._answer))
            answer |= of_assistant(item.content)
        else:
            self._flush()
            self._messages.append({"role": item.role, "content": content_of(item.content, f"{where}.content")})

    def _begin_answer(self, *, is_new: bool = False) -> dict[str, Any]:
        """The assistant's message that items are added to. A new message makes earlier decisions obsolete."""
        if is_new or self._results:
            self._flush()
        self._approvals, self._decided = {}, set()
        if self._answer is None:
            self._answer = {"role": "assistant", "content": None}
        return self._answer

    def _flush(self) -> None:
        if self._answer is not None and _says_something(self._answer):
            self._messages.append(self._answer)
        self._messages += self._results
        self._answer, self._results = None, []

    def _reasoning(self, item: Item, where: str) -> None:
        """Reads back the provider's own fields at the end of a step. Content that another server made is ignored."""
        try:
            state = decoded(item.encrypted_content or "")
        except ValueError as error:
            raise WrongParameter(
                f"The field '{where}.encrypted_content' was changed. Send it back unchanged.",
                f"{where}.encrypted_content",
            ) from error
        if state is None:
            if self._answer is not None and _says_something(self._answer):
                self._begin_answer(is_new=True)
            return
        fields = _checked([state.message, *state.calls.values()], state.message, where)
        if self._answer is not None:
            self._answer |= fields
            for call in self._answer.get("tool_calls", ()):
                call |= _checked([], state.calls.get(call["id"], {}), where)

    # Calls of tools

    def _call(self, item: Item, call_id: str, where: str) -> None:
        answer = self._begin_answer()
        function = {"name": item.name or "", "arguments": item.arguments or ""}
        answer.setdefault("tool_calls", []).append({"id": call_id, "type": "function", "function": function})
        self._calls[call_id] = where

    def _function_call(self, item: Item, where: str) -> None:
        for field in ("call_id", "name", "arguments"):
            if getattr(item, field) is None:
                raise WrongParameter(f"The field '{where}.{field}' is missing.", f"{where}.{field}")
        assert item.call_id is not None
        self._call(item, item.call_id, where)

    def _function_call_output(self, item: Item, where: str) -> None:
        """A program may send the result of a call that is not in the conversation."""
        if item.call_id is None or item.output is None:
            missing = "call_id" if item.call_id is None else "output"
            raise WrongParameter(f"The field '{where}.{missing}' is missing.", f"{where}.{missing}")
        if item.call_id in self._servers_calls or (item.call_id not in self._calls and not self._may_instruct):
            field = f"{where}.call_id"
            raise WrongParameter(f"The field '{field}' must be the id of an earlier function call.", field)
        self._calls.pop(item.call_id, None)
        content = content_of(item.output, f"{where}.output")
        self._results.append({"role": "tool", "tool_call_id": item.call_id, "content": content})

    def _mcp_call(self, item: Item, where: str) -> None:
        """A tool that has run on this server. An approved call comes twice: when it was made, and with its result."""
        call_id = item.call_id or item.id or where
        if call_id not in self._calls:
            self._servers_calls.add(call_id)
            self._call(item, call_id, where)
        if item.output is not None or item.error is not None:
            del self._calls[call_id]
            outcome = {
                "id": call_id,
                "result": item.output,
                "error": None if item.error is None else error_of(item.error),
            }
            self._results.append(tool_message(outcome))

    def _approval_request(self, item: Item, where: str) -> None:
        """An approval request that is too old for a decision is left out."""
        if (found := self._find(item.id or "")) is None:
            return
        call = converted(found, where)
        call_id = call.call_id or where
        if call_id not in self._servers_calls:  # the client has dropped the call itself
            self._servers_calls.add(call_id)
            self._call(call, call_id, where)

    def _approval_response(self, item: Item, where: str) -> None:
        id = item.approval_request_id or ""
        found = self._find(id) if id.startswith(APPROVAL) else None
        if found is None or item.approve is None:
            field = f"{where}.approval_request_id"
            raise WrongParameter(f"The item '{where}' does not belong to a call that waits for approval.", field)
        asked = converted(found, where)
        self._approval_request(asked, where)
        self._approvals[id.removeprefix(APPROVAL)] = Decision(item.approve, item.reason)
        self._decided.add(asked.call_id or "")


def _open_calls(messages: Sequence[Message]) -> set[str]:
    """The ids of calls of an earlier response that wait for approval."""
    answered = {message.get("tool_call_id") for message in messages}
    calls = {call["id"] for message in messages for call in message.get("tool_calls") or ()}
    return calls - answered


def _says_something(message: Mapping[str, Any]) -> bool:
    return bool(message.get("content") or message.get("tool_calls") or message.get("refusal"))


def _checked(parts: Sequence[Any], fields: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The provider's own fields, without any others."""
    field = f"{where}.encrypted_content"
    if problem := problem_with(parts):
        raise WrongParameter(f"The field '{field}' {problem}.", field)
    known = {name: value for name, value in fields.items() if name in STATE}
    try:
        msgspec.convert(known, MessageState)
    except (msgspec.ValidationError, RecursionError) as error:
        raise WrongParameter(f"The field '{field}' was changed. Send it back unchanged.", field) from error
    return known


def _without(message: Message, call_ids: set[str]) -> Message | None:
    """The message without undecided calls, because providers refuse a call without a result."""
    calls = message.get("tool_calls") or ()
    left = [call for call in calls if call["id"] not in call_ids]
    if len(left) == len(calls):
        return message
    kept = {name: value for name, value in message.items() if name != "tool_calls"}
    if left:
        kept["tool_calls"] = left
    return kept if _says_something(kept) else None
