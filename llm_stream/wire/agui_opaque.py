"""What the provider wants back, as AG-UI's clients keep it: a string that belongs to a message or to a tool call.

For a message the string is the `Opaque` event as JSON, for a call it is JSON of the provider's own fields. The text of
the reasoning is not in it: the client has it in messages of its own, whose ids name the message that they led to.
"""

from __future__ import annotations

from typing import Any
from typing import Literal

import msgspec

_OF_MESSAGE = "-reasoning-"


def encrypted_value(subtype: Literal["message", "tool-call"], entity_id: str, value: Any) -> dict[str, Any]:
    """The event that makes the client keep `value` with the message, or the call, of this id."""
    encoded = msgspec.json.encode(value).decode()
    return {"type": "REASONING_ENCRYPTED_VALUE", "subtype": subtype, "entityId": entity_id, "encryptedValue": encoded}


def reasoning_id(message_id: str, number: int) -> str:
    return f"{message_id}{_OF_MESSAGE}{number}"


def message_id_in(reasoning_id: str) -> str:
    """The id of the assistant's message; empty if the id was not made here."""
    return reasoning_id.rpartition(_OF_MESSAGE)[0]
