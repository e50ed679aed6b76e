"""The shared log of one `LLMStream`: the interface of `Streams` to the store and to the other workers."""

from __future__ import annotations

import atexit
import os
from time import monotonic
from time import sleep
from typing import NamedTuple

from ...errors import LLMStreamError
from ...errors import LogUnavailable
from ...errors import TooManyStreams
from ...settings import Settings
from ...upstream.ending import Ending
from ...usage.bill import NO_USAGE
from ..stream import Lost
from ..stream import Stream
from . import client
from .copy import Copy
from .deletion import delete
from .engine import Engine
from .entries import Claim
from .entries import Header
from .entries import encode
from .health import Health
from .keys import Keys
from .lease import BEAT_S
from .messages import Ask
from .messages import Delete
from .messages import Stop
from .mirror import Mirror
from .mirror import checked
from .reaper import Reaper
from .reaper import SettleLost
from .roster import Roster
from .store import Entry
from .store import Opening
from .store import Store
from .worker import AllClaims
from .worker import Worker

TOO_MANY_RETRY_AFTER_S = 5.0

CHECK_S = 0.1
EXIT_S = 1.0


class Listed(NamedTuple):
    """A line of `flask llm streams`."""

    stream_id: str
    header: Header
    state: str
    """`running`, or the status that it ended with."""
    readers: int


class SharedLog:
    """Thread-safe. The first request, or the worker's hook, signs this process on as a worker."""

    def __init__(self, name: str, settings: Settings, books: SettleLost, claims: AllClaims) -> None:
        """Raises `ConfigError`. Connects later. `claims` returns the keys that this process knows."""
        client.check(settings.log_url)
        self._settings = settings
        self._engine = Engine(settings.log_url)
        keys = Keys(name)
        self._store = Store(self._engine, keys)
        self._roster = Roster(self._engine, keys)
        self._reaper = Reaper(self._store, settings, books)
        self._claims = claims
        self._worker = self._new_worker()
        os.register_at_fork(after_in_child=self._after_fork)
        atexit.register(self.close, EXIT_S)

    def _new_worker(self) -> Worker:
        return Worker(self._engine, self._store, self._roster, self._reaper, self._claims)

    def _after_fork(self) -> None:
        self._engine.forget()
        self._worker = self._new_worker()

    def begin(self) -> None:
        """Raises `RuntimeError` if no thread can be started."""
        self._worker.begin()

    def close(self, within_s: float) -> None:
        """Ship the remaining events and sign off. Waits up to `within_s` seconds."""
        self._worker.close(within_s)

    @property
    def is_away(self) -> bool:
        """Whether the engine did not answer when it was last asked."""
        return self._engine.away_since is not None

    @property
    def health(self) -> Health:
        return Health(self._engine)

    # Streams of this worker

    def admit(self, stream: Stream, fingerprint: bytes) -> Claim | None:
        """Take a slot and claim the key. Return the claim of the stream that has the key already, if any.

        Raises `TooManyStreams` and `LogUnavailable`.
        """
        self.begin()
        self._engine.check()
        worker = self._worker
        copy = Copy(stream, worker.name, fingerprint)
        opening = copy.opening()
        worker.shipper.add(copy)  # other workers may ask for it as soon as it is in the store
        refusal: LLMStreamError | None = None
        claim = None
        try:
            has_slot, claim = self._store.admit(opening)
            if claim is not None:
                refusal = LLMStreamError()
            elif not has_slot:
                refusal = TooManyStreams(retry_after=TOO_MANY_RETRY_AFTER_S)
        except LogUnavailable as error:
            refusal = error
        if refusal is not None:
            self._withdraw(copy, opening, refusal)
            if claim is None:
                raise refusal
        else:
            worker.shipper.begin(copy, opening.last)
        return claim

    def withdraw(self, stream: Stream, error: LLMStreamError) -> None:
        """Forget a stream that was admitted and then refused."""
        if copy := self._worker.shipper.get(stream.id):
            self._withdraw(copy, copy.opening(), error)

    def _withdraw(self, copy: Copy, opening: Opening, error: LLMStreamError) -> None:
        end = Ending(error.ending, failure=error.failure(), usage=NO_USAGE).events()
        fields = {"events": encode(end), "status": error.ending.encode()}
        self._worker.withdraw(opening, Entry(opening.stream_id, opening.last + len(end), fields))
        self._worker.shipper.drop(copy)

    def forget(self, stream_id: str) -> None:
        """Forget a stream that has ended."""
        self._worker.shipper.forget(stream_id)

    def check(self, stream: Stream) -> None:
        """Called before a stream settles. Raises `Lost` if another worker has settled it.

        While this worker holds its lease, no other worker can have settled the stream. Otherwise the store knows; if it
        is away, the ledger decides. A process that has just resumed tries for a moment longer, because it does not know
        yet whether the store is away.
        """
        worker = self._worker
        copy = worker.shipper.get(stream.id)
        until = monotonic() + BEAT_S
        while copy is not None and not worker.lease.is_held:
            try:
                worker.shipper.check(copy)
                break
            except LogUnavailable:
                if monotonic() > until or not worker.lease.has_just_woken:
                    break
                sleep(CHECK_S)
        if end := worker.shipper.lost.pop(stream.id, None):
            raise Lost(end)

    # Streams of any worker

    def claim(self, owner: str, key: str) -> Claim | None:
        """The stream that a key identifies. Raises `LogUnavailable`."""
        self.begin()
        return self._store.claim(owner, key)

    def find(self, owner: str | None, stream_id: str) -> Mirror:
        """A stream of `owner`; None means any owner. Raises `UnknownStream`, `ExpiredStream` and `LogUnavailable`."""
        self.begin()
        mirrors = self._worker.mirrors
        mirror = mirrors.get(stream_id)
        if mirror is not None and not mirror.has_expired and owner in (None, mirror.owner):
            mirror.found_at = monotonic()
            return mirror
        mirror = Mirror(stream_id, checked(*self._store.read(stream_id), owner), self._settings, self)
        if not mirror.log.ended:
            mirror = mirrors.keep(mirror)
            self.follow(mirror)
        return mirror

    def streams_of(self, owner: str) -> list[tuple[str, str | None]]:
        """The ids and keys of an owner's streams, the newest first. Raises `LogUnavailable`."""
        self.begin()
        return self._store.streams_of(owner)

    def listing(self) -> list[Listed]:
        """All streams that are kept, the oldest first. Raises `LogUnavailable`."""
        readers: dict[str, int] = {}
        for worker in self._roster.alive():
            readers |= self._roster.running(worker)
        found = [
            Listed(id, kept.header, kept.status or "running", readers.get(id, 0))
            for id, kept in self._store.summaries().items()
        ]
        return sorted(found, key=lambda listed: listed.header.created)

    # What a mirror asks of its stream's worker

    def follow(self, mirror: Mirror) -> None:
        self._worker.mirrors.keep(mirror)
        try:
            self._worker.inbox.send_follow([mirror])
        except LogUnavailable:  # the next beat asks again
            pass

    def leave(self, mirror: Mirror) -> None:
        if mirror.is_wanted:  # it was found just now, and may get another reader
            self.follow(mirror)
        else:
            self._worker.leave(mirror)

    def stop(self, mirror: Mirror) -> bool:
        """Return whether the stream's worker has confirmed it. Raises `LogUnavailable`."""
        is_answered, _ = self._worker.inbox.ask(Stop, mirror)
        return is_answered

    def delete(self, stream: Mirror | str) -> None:
        """Delete a stream: a mirror, or the id of a stream of this worker. Raises `LogUnavailable`."""
        if isinstance(stream, str):
            delete(stream, self._worker.shipper)
            return
        is_answered, last = self._worker.inbox.ask(Delete, stream)
        if not is_answered or last is None:  # the worker that wrote it is dead, or has forgotten it
            self._store.bury(stream.id, stream.header, 0.0)

    def last_number(self, mirror: Mirror) -> int | None:
        try:
            _, last = self._worker.inbox.ask(Ask, mirror)
        except LogUnavailable:
            return None
        return last
