"""Asks a reader to approve a call, and checks the decision in the reader's next request."""

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
    """A complete call of a tool."""

    id: str
    name: str
    arguments: str


class Approvals:
    """The id of each approval is a signed token that holds the call. So a call runs with the model's own arguments and
    for the owner who was asked, and no reader can approve a call that the model did not make."""

    def __init__(self, secret: Callable[[], str | bytes], name: str) -> None:
        """`secret` returns the key to sign with, the same in all workers. `name` is that of the `LLMStream`."""
        self._secret = secret
        self._salt = f"llm_stream approval {name}"

    def ask(self, owner: str, call: Call) -> str:
        token: str | bytes = self._serializer().dumps([_digest(owner), *msgspec.to_builtins(call)])
        return token if isinstance(token, str) else token.decode()

    def decided(self, owner: str, request: ChatRequest) -> list[tuple[Call, Decision]]:
        """The request's decisions about open calls in its messages. Raises `InvalidField`.

        Leaves out a decision about a call that already has a result: an earlier request carried it out.
        """
        calls = {call.get("id") for message in request.messages for call in message.get("tool_calls") or ()}
        answered = {message.get("tool_call_id") for message in request.messages}
        found = []
        for token, decision in request.approvals.items():
            call = self.call_of(owner, token)
            if call.id not in calls:
                raise InvalidField(f"The field 'approvals' decides about the call {call.id!r}, which 'messages' lacks.")
            if call.id not in answered:
                found.append((call, decision))
        return found

    def call_of(self, owner: str, token: str) -> Call:
        """The call that a token asks about.

        Raises `InvalidField` for a token that is forged, expired, or another owner's.
        """
        try:
            asked, *call = self._serializer().loads(token, max_age=VALID_S)
        except BadData:
            asked = call = None
        if asked != _digest(owner):
            raise InvalidField("The field 'approvals' has an id of no pending approval: it is unknown or has expired.")
        return msgspec.convert(call, Call)

    def _serializer(self) -> URLSafeTimedSerializer:
        return URLSafeTimedSerializer(self._secret(), salt=self._salt)


def with_outcomes(messages: Sequence[Message], outcomes: Sequence[Event]) -> list[Message]:
    """Insert the results of calls that have none. A call without an outcome gets the error `NOT_APPROVED`."""
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
