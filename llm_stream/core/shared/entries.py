"""How a stream is written in the store.

Each entry has a batch of events: a JSON array, in which a string is a `Delta` and an object any other event. The first
entry also has the stream's `Header`, the last one its status. An entry has an `Account` if the account has changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ...events import KINDS
from ...events import Delta
from ...events import Event
from ...events import Usage
from ...settings import Settings
from ...upstream.source import Asked
from ...upstream.source import Attempt
from ..log.memory import LOST
from ..log.memory import MemoryLog

Pieces = list[str | dict[str, Any]]

_json = msgspec.json.Encoder().encode
_pieces = msgspec.json.Decoder(Pieces).decode

SPARE_S = 60.0
"""How much longer the store keeps a running stream than it can run."""


def pieces_of(events: Sequence[Event]) -> list[Any]:
    return [event.text if type(event) is Delta else {event.type: event} for event in events]


def events_of(pieces: Pieces) -> list[Event]:
    return [Delta(piece) if isinstance(piece, str) else _event(piece) for piece in pieces]


def encode(events: Sequence[Event]) -> bytes:
    return _json(pieces_of(events))


def decode(entry: bytes) -> list[Event]:
    """Raises `msgspec.MsgspecError`."""
    return events_of(_pieces(entry))


def _event(piece: Mapping[str, Any]) -> Event:
    ((kind, fields),) = piece.items()
    return msgspec.convert(fields, KINDS[kind])


class Call(msgspec.Struct, omit_defaults=True):
    """The parts of an attempt that its bill needs. It has the size of the prompt, not the prompt."""

    model: str | None = None
    input_tokens: int | None = None
    """Estimated."""
    max_output_tokens: int | None = None
    base_url: str | None = None
    alias: str | None = None
    upstream: str | None = None
    accepted: bool = False
    upstream_model: str | None = None
    request_id: str | None = None
    service_tier: str | None = None
    figures: Usage | None = None
    is_whole: bool = False
    segment: int = 0

    @classmethod
    def of(cls, attempt: Attempt, input_tokens: int | None) -> Call:
        return cls(
            model=attempt.model,
            input_tokens=input_tokens,
            max_output_tokens=attempt.asked.max_output_tokens,
            base_url=attempt.base_url,
            alias=attempt.alias,
            upstream=attempt.upstream,
            accepted=attempt.accepted,
            upstream_model=attempt.upstream_model,
            request_id=attempt.request_id,
            service_tier=attempt.service_tier,
            figures=attempt.figures,
            is_whole=attempt.is_whole,
            segment=0 if attempt.written is not None else attempt.segment,
        )

    def attempt(self) -> Attempt:
        return Attempt(
            model=self.model,
            asked=Asked(max_output_tokens=self.max_output_tokens, input_tokens=self.input_tokens),
            base_url=self.base_url,
            alias=self.alias,
            upstream=self.upstream,
            accepted=self.accepted,
            upstream_model=self.upstream_model,
            request_id=self.request_id,
            service_tier=self.service_tier,
            figures=self.figures,
            is_whole=self.is_whole,
            segment=self.segment,
        )


class Account(msgspec.Struct, omit_defaults=True):
    """The data that another worker needs to write the record of a lost worker's stream."""

    calls: list[Call] = []
    ttft_s: float | None = None
    currency: str | None = None
    """The currency of the stream's reservation."""


class Header(msgspec.Struct, omit_defaults=True):
    """The fields that only the first entry of a stream has."""

    owner: str
    worker: str
    created: float
    """Unix time."""
    key: str | None = None
    model: str | None = None
    metadata: dict[str, Any] = {}
    request: bytes | None = None


class Claim(msgspec.Struct, frozen=True):
    """The stream that a client's key identifies."""

    stream_id: str
    fingerprint: bytes


encode_struct = _json
decode_account = msgspec.json.Decoder(Account).decode
decode_claim = msgspec.json.Decoder(Claim).decode

Fields = Mapping[bytes, bytes]


def encode_header(header: Header) -> bytes:
    """Uses the standard library, because an owner may have lone surrogates, which msgspec refuses."""
    return json.dumps(msgspec.to_builtins(header)).encode()


def decode_header(header: bytes) -> Header:
    return msgspec.convert(json.loads(header), Header)


class Kept:
    """A stream as the store has it."""

    def __init__(self, entries: Sequence[tuple[bytes, Fields]]) -> None:
        """Raises `msgspec.MsgspecError`. `entries` must not be empty."""
        self.header = decode_header(entries[0][1][b"header"])
        self.batches = [_batch(*entry) for entry in entries]
        self.account = Account()
        self.status: str | None = None
        self.ended_by: bytes | None = None
        """The worker that wrote the end of a lost stream."""
        for _, fields in entries:
            if account := fields.get(b"account"):
                self.account = decode_account(account)
            if status := fields.get(b"status"):
                self.status, self.ended_by = status.decode(), fields.get(b"by")

    def add(self, first: int, events: Sequence[Event], status: str) -> None:
        """Add the end that this worker has just written."""
        self.batches.append((first, list(events)))
        self.status = status

    @property
    def events(self) -> list[Event]:
        """All events that the store has, in order."""
        log = MemoryLog()
        for first, events in self.batches:
            add(log, first, events)
        return log.events


def _batch(entry_id: bytes, fields: Fields) -> tuple[int, list[Event]]:
    """The number of the first event, and the events."""
    events = decode(fields[b"events"])
    return int(entry_id.partition(b"-")[0]) - len(events) + 1, events


def add(log: MemoryLog, first: int, events: Sequence[Event]) -> bool:
    """Append the events that `log` does not have yet. Return False if earlier events are missing."""
    if first >= LOST:
        if not log.ended:
            log.append_end_of_lost(events)
        return True
    if first > log.last + 1:
        return False
    log.append(events[log.last + 1 - first :])
    return True


def running_ttl(settings: Settings) -> float:
    """Seconds that a running stream is kept: longer than it can run."""
    return settings.total_s + settings.retention_s + SPARE_S
