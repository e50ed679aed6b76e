"""The streams in the store: their logs, their keys and the slots of their owners."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from time import time
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from ...events import Done
from ...events import Event
from ...settings import Settings
from ..log.memory import LOST
from .engine import RETRY_AFTER_S
from .engine import Engine
from .engine import Fill
from .engine import evaluate
from .engine import milliseconds
from .entries import Account
from .entries import Claim
from .entries import Header
from .entries import Kept
from .entries import decode
from .entries import decode_claim
from .entries import encode
from .entries import encode_header
from .entries import encode_struct
from .entries import running_ttl
from .keys import Keys
from .scripts import END
from .scripts import TAKE_SLOT

if TYPE_CHECKING:
    from redis.client import Pipeline

REMEMBERED_S = 86_400.0
"""How long the store remembers a client's key, and that a stream has ended: long after the events are gone."""

MOST_TOGETHER = 500
"""Commands in one round trip."""


class Opening(NamedTuple):
    """The first entry of a stream, and the other values that are written with it."""

    stream_id: str
    owner: str
    worker: str
    fields: Mapping[str, bytes]
    last: int
    """The number of the last event in `fields`."""
    max_streams: int
    ttl_s: float
    key: str | None
    """The key to claim."""
    fingerprint: bytes

    @classmethod
    def of(
        cls,
        stream_id: str,
        header: Header,
        events: Sequence[Event],
        account: Account,
        settings: Settings,
        fingerprint: bytes | None,
    ) -> Opening:
        """`fingerprint` is None where no key is to be claimed."""
        fields = {"header": encode_header(header), "events": encode(events), "account": encode_struct(account)}
        if isinstance(events[-1], Done):
            fields["status"] = events[-1].status.encode()
        return cls(
            stream_id,
            header.owner,
            header.worker,
            fields,
            len(events),
            settings.max_streams_per_owner,
            running_ttl(settings),
            header.key if fingerprint is not None else None,
            fingerprint or b"",
        )


class Entry(NamedTuple):
    stream_id: str
    last: int
    """The number of its last event."""
    fields: Mapping[str, bytes]


class Place(NamedTuple):
    """What the store has of a stream that this worker writes."""

    last: int
    """The number of the last event; 0 if it has none."""
    end_of_lost: Sequence[Event]
    """The end that another worker has written, if any."""
    has_ended: bool
    """Whether the stream has ended. Its events may be gone already."""


class Store:
    """Every method raises `LogUnavailable`."""

    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys

    @property
    def is_away(self) -> bool:
        """Whether the engine is known to be unavailable."""
        return self._engine.away_since is not None

    # A stream's life

    def admit(self, opening: Opening) -> tuple[bool, Claim | None]:
        """Create a stream, take a slot, claim the key. Return whether a slot was free, and another stream's claim."""
        results = self._engine.pipeline(lambda pipe: self._open(pipe, opening), may_exist=True)
        slot = results[7]
        claim = results[8] if opening.key is not None else None
        claimed = decode_claim(claim) if claim else None
        return bool(slot), None if claimed and claimed.stream_id == opening.stream_id else claimed

    def recreate(self, opening: Opening) -> None:
        """Create a stream again that the store has lost."""
        self._engine.pipeline(lambda pipe: self._open(pipe, opening), may_exist=True)

    def _open(self, pipe: Pipeline, opening: Opening) -> None:
        keys, id, owner, now = self._keys, opening.stream_id, opening.owner, time()
        log, running, owned, ttl = keys.log(id), keys.running(opening.worker), keys.streams_of(owner), opening.ttl_s
        pipe.xadd(log, opening.fields, id=f"{opening.last}-0")  # type: ignore[arg-type]
        pipe.pexpire(log, milliseconds(ttl))
        pipe.hset(running, id, 0)
        pipe.pexpire(running, milliseconds(ttl))
        pipe.zadd(owned, {id: now})
        pipe.zremrangebyscore(owned, "-inf", now - ttl)
        pipe.pexpire(owned, milliseconds(ttl))
        evaluate(pipe, TAKE_SLOT, keys.slots(owner), id, opening.max_streams, int(ttl))
        if opening.key is not None:
            claim = encode_struct(Claim(id, opening.fingerprint))
            pipe.set(keys.claim(owner, opening.key), claim, nx=True, get=True, px=milliseconds(REMEMBERED_S))

    def append(self, entries: Sequence[Entry], also: Fill) -> list[bool]:
        """Append one entry to each stream. `also` may add commands to the round trip.

        Return False for an entry if the store has lost the stream, or already has that number or a later one.
        """

        def append(pipe: Pipeline) -> None:
            for id, last, fields in entries:
                pipe.xadd(self._keys.log(id), fields, id=f"{last}-0", nomkstream=True)  # type: ignore[arg-type]
            also(pipe)

        results = self._engine.ship(append)[: len(entries)]
        return [isinstance(result, bytes) for result in results]

    def close(self, pipe: Pipeline, stream_id: str, owner: str, worker: str, kept_s: float) -> None:
        """Add the commands for an ended stream: keep it for `kept_s` seconds, remember it for longer, free its slot."""
        keys = self._keys
        pipe.pexpire(keys.log(stream_id), milliseconds(kept_s))
        pipe.set(keys.tombstone(stream_id), owner.encode(errors="surrogatepass"), px=milliseconds(REMEMBERED_S))
        pipe.hdel(keys.running(worker), stream_id)
        pipe.zrem(keys.slots(owner), stream_id)

    def end_lost(self, entry: Entry, header: Header, kept_s: float) -> bool:
        """Write the end of a lost stream. Return False if it has an end already, or does not exist."""
        id, last, fields = entry

        def end(pipe: Pipeline) -> None:
            arguments = (fields["events"], fields["status"], fields["by"])
            evaluate(pipe, END, self._keys.log(id), f"{last}-0", *arguments)
            self.close(pipe, id, header.owner, header.worker, kept_s)

        is_ours = bool(self._engine.pipeline(end)[0])
        if is_ours:
            name, kept = self._keys.end_of_lost(id), milliseconds(REMEMBERED_S)
            self._engine.run(lambda redis: redis.set(name, fields["events"], px=kept))
        return is_ours

    def bury(self, stream_id: str, header: Header, kept_s: float) -> None:
        """Run the commands of `close()` alone: the stream's worker died before them, or the stream is deleted."""
        self._engine.pipeline(lambda pipe: self.close(pipe, stream_id, header.owner, header.worker, kept_s))

    def withdraw(self, opening: Opening, end: Entry) -> None:
        """End a stream that was refused. Its key is free; a reader that has attached meanwhile gets the error."""
        id, owner, key = opening.stream_id, opening.owner, opening.key

        def withdraw(pipe: Pipeline) -> None:
            pipe.xadd(self._keys.log(id), end.fields, id=f"{end.last}-0", nomkstream=True)  # type: ignore[arg-type]
            self.close(pipe, id, owner, opening.worker, RETRY_AFTER_S)
            pipe.zrem(self._keys.streams_of(owner), id)

        self._engine.pipeline(withdraw, may_exist=True)
        if key is not None and (claim := self.claim(owner, key)) and claim.stream_id == id:
            self._engine.run(lambda redis: redis.delete(self._keys.claim(owner, key)))

    def claim_again(self, claims: Sequence[tuple[bytes, Claim]]) -> None:
        """Claim keys that the store has lost, each by the digest of its owner and key."""
        kept = milliseconds(REMEMBERED_S)

        def claim_again(pipe: Pipeline) -> None:
            for place, claim in together:
                pipe.set(self._keys.claim_at(place), encode_struct(claim), nx=True, px=kept)

        for first in range(0, len(claims), MOST_TOGETHER):
            together = claims[first : first + MOST_TOGETHER]
            self._engine.pipeline(claim_again)

    # Finding streams

    def claim(self, owner: str, key: str) -> Claim | None:
        found: Any = self._engine.run(lambda redis: redis.get(self._keys.claim(owner, key)))
        return decode_claim(found) if found else None

    def read(self, stream_id: str) -> tuple[Kept | None, str | None]:
        """The stream, if the store still has it; and its owner, if it has ended."""

        def read(pipe: Pipeline) -> None:
            pipe.xrange(self._keys.log(stream_id))
            pipe.get(self._keys.tombstone(stream_id))

        entries, owner = self._engine.pipeline(read)
        return Kept(entries) if entries else None, owner.decode(errors="surrogatepass") if owner else None

    def streams_of(self, owner: str) -> list[tuple[str, str | None]]:
        """The ids and keys of the owner's streams that are kept, the newest first."""
        found: Any = self._engine.run(lambda redis: redis.zrevrange(self._keys.streams_of(owner), 0, -1))
        ids = [stream_id.decode() for stream_id in found]

        def read(pipe: Pipeline) -> None:
            for stream_id in ids:
                pipe.xrange(self._keys.log(stream_id), count=1)

        firsts = self._engine.pipeline(read) if ids else []
        return [(id, Kept(first).header.key) for id, first in zip(ids, firsts, strict=True) if first]

    def places(self, stream_ids: Sequence[str]) -> list[Place]:

        def read(pipe: Pipeline) -> None:
            for stream_id in stream_ids:
                pipe.xrevrange(self._keys.log(stream_id), count=1)
                pipe.get(self._keys.end_of_lost(stream_id))
                pipe.exists(self._keys.tombstone(stream_id))

        found = iter(self._engine.pipeline(read))
        return [_place(*triple) for triple in zip(found, found, found, strict=True)]

    def summaries(self) -> dict[str, Kept]:
        """The first and the last entry of each stream. Scans all keys: for a command, not for a request."""
        names: Any = self._engine.run(lambda redis: list(redis.scan_iter(match=self._keys.every_log, count=1000)))

        def read(pipe: Pipeline) -> None:
            for name in names:
                pipe.xrange(name, count=1)
                pipe.xrevrange(name, count=1)

        entries = iter(self._engine.pipeline(read))
        ids = [self._keys.id_in(name.decode()) for name in names]
        return {id: Kept([*first, *last]) for id, first, last in zip(ids, entries, entries, strict=True) if first}


def _place(entries: Sequence[tuple[bytes, Mapping[bytes, bytes]]], end_of_lost: bytes | None, has_ended: int) -> Place:
    last = int(entries[0][0].partition(b"-")[0]) if entries else 0
    if last >= LOST:
        end_of_lost = entries[0][1][b"events"]
    return Place(last, decode(end_of_lost) if end_of_lost else (), bool(has_ended))
