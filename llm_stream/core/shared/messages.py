"""The messages between workers."""

from __future__ import annotations

from typing import Any

import msgspec


class Follow(msgspec.Struct, tag="follow"):
    """`worker` has the events of these streams up to a number, and so many readers. Sent again with each beat."""

    worker: str
    streams: dict[str, tuple[int, int]]


class Leave(msgspec.Struct, tag="leave"):
    """`worker` has no readers of these streams any more."""

    worker: str
    streams: list[str]


class Stop(msgspec.Struct, tag="stop"):
    """A client of `worker` stops this stream. To be answered once it is decided how the stream ends."""

    worker: str
    question: str
    stream: str


class Delete(msgspec.Struct, tag="delete"):
    """A client of `worker` deletes this stream. To be answered once nobody can find it."""

    worker: str
    question: str
    stream: str


class Ask(msgspec.Struct, tag="ask"):
    """`worker` asks for the number of this stream's last event, because a reader says that it has seen a later one."""

    worker: str
    question: str
    stream: str


class Reply(msgspec.Struct, tag="answer"):
    """None where the sender does not know the stream."""

    question: str
    last: int | None


class Unknown(msgspec.Struct, tag="unknown"):
    """The answer to `Follow`, for streams that the sender does not write: what there is of them is in the store."""

    streams: list[str]
    ended: list[str] = []
    """Those that the sender has written to their end, and forgotten."""


class Push(msgspec.Struct, tag="push"):
    """Events of streams that the receiver follows: the number of the first, and the events as in the store.

    No events: the receiver has them all.
    """

    streams: dict[str, tuple[int, list[str | dict[str, Any]]]]


Message = Follow | Leave | Stop | Delete | Ask | Reply | Unknown | Push

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Message).decode
