"""The provider's opaque state as AG-UI's clients store it: a string that belongs to a message or to a tool call.

For a message the string is the `Opaque` event as JSON. For a call it is the provider's own fields as JSON. It does not
contain the text of the reasoning: the client has that in separate messages, whose ids name the assistant's message.
"""

from __future__ import annotations

from typing import Any
from typing import Literal

import msgspec

_OF_MESSAGE = "-reasoning-"


def encrypted_value(subtype: Literal["message", "tool-call"], entity_id: str, value: Any) -> dict[str, Any]:
    """The event that makes the client store `value` with the message or the call that has this id."""
    encoded = msgspec.json.encode(value).decode()
    return {"type": "REASONING_ENCRYPTED_VALUE", "subtype": subtype, "entityId": entity_id, "encryptedValue": encoded}


def reasoning_id(message_id: str, number: int) -> str:
    return f"{message_id}{_OF_MESSAGE}{number}"


def message_id_in(reasoning_id: str) -> str:
    """The id of the assistant's message; empty if `reasoning_id()` did not make this id."""
    return reasoning_id.rpartition(_OF_MESSAGE)[0]
