"""Asks a reader to approve a call, and checks what the reader's next request says about it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from hashlib import blake2b

import msgspec
from itsdangerous import BadData
from itsdangerous import URLSafeTimedSerializer

from ...chat_request import ChatRequest
from ...chat_request import Decision
from ...chat_request import Message
from ...chat_request import tool_message
from ...errors import InvalidField
from ...events import Event
from ...events import ToolResult

NO_MESSAGE: Message = {}

NOT_APPROVED = "The user did not allow this call."

VALID_S = 86_400
"""How long a reader may take to decide."""


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A call of a tool, whole."""

    id: str
    name: str
    arguments: str


class Approvals:
    """Each question is a signed token, which holds the call. So a call runs with the arguments that the model gave, for
    the owner who was asked, and no reader can approve a call that the model did not make."""

    def __init__(self, secret: Callable[[], str | bytes], name: str) -> None:
        """`secret` returns the key to sign with, the same in all workers. `name` is that of the `LLMStream`."""
        self._secret = secret
        self._salt = f"llm_stream approval {name}"

    def ask(self, owner: str, call: Call) -> str:
        token: str | bytes = self._serializer().dumps([_digest(owner), *msgspec.to_builtins(call)])
        return token if isinstance(token, str) else token.decode()

    def decided(self, owner: str, request: ChatRequest) -> list[tuple[Call, Decision]]:
        """What the request says about open calls in its messages. Raises `InvalidField`.

        A decision about a call that has a result is left out: it was carried out before.
        """
        calls = {call.get("id") for message in request.messages for call in message.get("tool_calls") or ()}
        answered = {message.get("tool_call_id") for message in request.messages}
        found = []
        for token, decision in request.approvals.items():
            call = self.call_of(owner, token)
            if call.id not in calls:
                raise InvalidField(f"The field 'messages' lacks the call {call.id!r}, which 'approvals' decides about.")
            if call.id not in answered:
                found.append((call, decision))
        return found

    def call_of(self, owner: str, token: str) -> Call:
        """The call that a token asks about.

        Raises `InvalidField` for a token that was not made here, or for another owner, or too long ago.
        """
        try:
            asked, *call = self._serializer().loads(token, max_age=VALID_S)
        except BadData:
            asked = call = None
        if asked != _digest(owner):
            raise InvalidField(
                "The field 'approvals' decides about a call that does not wait for approval, or not any more."
            )
        return msgspec.convert(call, Call)

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt=self._salt)


def with_outcomes(messages: Sequence[Message], outcomes: Sequence[Event]) -> list[Message]:
    """Put the results behind the calls that have none. A call without an outcome was not allowed."""
    found = {event.id: msgspec.to_builtins(event) for event in outcomes if isinstance(event, ToolResult)}
    result: list[Message] = []
    open_calls: list[str] = []
    for message in [*messages, NO_MESSAGE]:
        if message.get("role") == "tool":
            open_calls = [call for call in open_calls if call != message.get("tool_call_id")]
        else:
            result += [tool_message(found.get(call, {"id": call, "error": NOT_APPROVED})) for call in open_calls]
            open_calls = [call["id"] for call in message.get("tool_calls") or ()]
        result.append(message)
    return result[:-1]


def _digest(owner: str) -> str:
    return blake2b(owner.encode(errors="surrogatepass"), digest_size=16).hexdigest()
