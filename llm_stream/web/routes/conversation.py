"""Which stream answers what was asked in a conversation, for clients that know the conversation but no stream.

Their requests bring no key, so one is made of what they do bring. It holds the conversation, by which what is being
written there is found again, and a digest of what was asked, so that the same request buys one answer however often it
is sent. Like any key it belongs to its owner.
"""

from __future__ import annotations

from itertools import count
from typing import Literal

import msgspec

from ...chat_request import ChatRequest
from ...core.stream import Stream
from ...errors import ExpiredStream
from ..service import Service


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Where in a conversation an answer belongs; as JSON, and a number, the key of its stream."""

    client: Literal["ui", "agui"]
    conversation: str
    digest: str
    message: str | None = None
    """The message that the answer goes on with, if it is to be no message of its own."""

    def key(self, attempt: int = 1) -> str:
        """No client can have made it: theirs hold no space."""
        return f"{msgspec.json.encode(self).decode()} {attempt}"


def place_of(stream: Stream) -> Place | None:
    """None for a stream whose key was made elsewhere."""
    try:
        return msgspec.json.decode((stream.key or "").rpartition(" ")[0], type=Place)
    except msgspec.MsgspecError:
        return None


def opened(llm: Service, owner: str, asked: ChatRequest, place: Place) -> Stream:
    """The stream that answers there; a new one, if there is none, or it came to nothing. Raises `LLMStreamError`."""
    streams = llm.state.streams
    for attempt in count(1):
        key = place.key(attempt)
        try:
            known = streams.claimed(owner, key)
        except ExpiredStream:
            continue  # whatever it said, nobody has it any more
        if known is None or not _came_to_nothing(known):
            break
    return llm.open(owner, msgspec.structs.replace(asked, key=key))


def streams_in(llm: Service, owner: str, client: str, conversation: str) -> list[Stream]:
    """Those of a conversation that are kept, the newest first."""
    found = []
    for stream in llm.state.streams.of(owner):
        place = place_of(stream)
        if place is not None and (place.client, place.conversation) == (client, conversation):
            found.append(stream)
    return found


def stop(llm: Service, owner: str, client: str, conversation: str) -> None:
    """Whatever is being written there, also what nobody waits for any more."""
    for stream in streams_in(llm, owner, client, conversation):
        stream.stop("cancelled")


def _came_to_nothing(stream: Stream) -> bool:
    """It broke off, or was stopped: who sends the same again wants an answer, not the same failure."""
    return stream.ending not in (None, "completed", "incomplete")
