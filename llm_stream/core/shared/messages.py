"""The messages between workers."""

from __future__ import annotations

from typing import Any

import msgspec


class Follow(msgspec.Struct, tag="follow"):
    """`worker` follows these streams: the number of the last event that it has of each, and its number of readers.

    Sent again with each beat.
    """

    worker: str
    streams: dict[str, tuple[int, int]]


class Leave(msgspec.Struct, tag="leave"):
    """`worker` has no readers of these streams any more."""

    worker: str
    streams: list[str]


class Stop(msgspec.Struct, tag="stop"):
    """A client of `worker` stops this stream. The answer is sent when the stream's end is decided."""

    worker: str
    question: str
    stream: str


class Delete(msgspec.Struct, tag="delete"):
    """A client of `worker` deletes this stream. The answer is sent when no worker can find the stream any more."""

    worker: str
    question: str
    stream: str


class Ask(msgspec.Struct, tag="ask"):
    """`worker` asks for the number of this stream's last event: its reader says that it has seen a later one."""

    worker: str
    question: str
    stream: str


class Reply(msgspec.Struct, tag="answer"):
    """The number of the last event; None if the sender does not know the stream."""

    question: str
    last: int | None


class Unknown(msgspec.Struct, tag="unknown"):
    """The answer to `Follow` for streams that the sender does not write: read them from the store."""

    streams: list[str]
    ended: list[str] = []
    """The streams among them that the sender has written to their end and forgotten."""


class Push(msgspec.Struct, tag="push"):
    """Events of streams that the receiver follows: the number of the first, and the events as in the store.

    No events: the receiver has them all.
    """

    streams: dict[str, tuple[int, list[str | dict[str, Any]]]]


Message = Follow | Leave | Stop | Delete | Ask | Reply | Unknown | Push

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode
