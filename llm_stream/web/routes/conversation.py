"""Finds the streams of a conversation, for clients that know the conversation but no stream id.

Their requests carry no key, so we build a key from the conversation and a digest of the request. A repeated request
then gets the same answer, and we find a conversation's running streams by their keys. Like any key, it belongs to
its owner.
"""

from __future__ import annotations

from itertools import count
from typing import Literal

import msgspec

from ...chat_request import ChatRequest
from ...core.followed import Followed
from ...errors import ExpiredStream
from ...events import WHOLE
from ..service import Service


class Place(msgspec.Struct, frozen=True, array_like=True):
    """An answer's place in a conversation. A stream's key is its place as JSON, followed by the attempt's number."""

    client: Literal["ui", "agui"]
    conversation: str
    digest: str
    message: str | None = None
    """The message that the answer continues; None if it is a new message."""

    def key(self, attempt: int = 1) -> str:
        """The stream's key. It contains a space, so it never collides with a key from a client."""
        return f"{msgspec.json.encode(self).decode()} {attempt}"


def place_of(key: str | None) -> Place | None:
    """The place in a key; None if `Place.key()` did not build the key."""
    try:
        return msgspec.json.decode((key or "").rpartition(" ")[0], type=Place)
    except msgspec.MsgspecError:
        return None


def open_stream(llm: Service, owner: str, chat_request: ChatRequest, place: Place) -> Followed:
    """Attach to the stream at `place`. Start a new stream if there is none, or if it failed, was stopped or expired.

    A new stream's metadata has the id of its chat, for the app's `on_answer`. Raises `LLMStreamError`.
    """
    for attempt in count(1):
        key = place.key(attempt)
        try:
            stream = llm.state.streams.claimed(owner, key)
        except ExpiredStream:
            continue
        if stream is None or stream.ending in (None, *WHOLE):
            break
    metadata = {"chat": place.conversation}
    return llm.open(owner, msgspec.structs.replace(chat_request, key=key), metadata=metadata)


def streams_in(llm: Service, owner: str, client: str, conversation: str) -> list[Followed]:
    """The stored streams of a conversation, newest first."""

    def is_in(key: str | None) -> bool:
        place = place_of(key)
        return place is not None and (place.client, place.conversation) == (client, conversation)

    return llm.state.streams.of(owner, is_in)


def stop_streams(llm: Service, owner: str, client: str, conversation: str) -> None:
    """Stop every running stream of a conversation, with or without readers."""
    for stream in streams_in(llm, owner, client, conversation):
        stream.stop("cancelled")
