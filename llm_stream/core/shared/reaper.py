"""Ends the streams of dead workers."""

from __future__ import annotations

import logging
import secrets
import threading
from dataclasses import replace
from datetime import UTC
from datetime import datetime
from hashlib import blake2b
from typing import Protocol

from ...errors import WorkerLost
from ...events import Failure
from ...settings import Settings
from ...upstream.ending import Ending
from ...upstream.source import Attempt
from ...usage.account import LostStream
from ...usage.account import account_of_lost
from ...usage.bill import Bill
from ...usage.record import UsageRecord
from ..log.memory import LOST
from .entries import Account
from .entries import Kept
from .entries import encode
from .mirror import Mirror
from .store import Entry
from .store import Store

logger = logging.getLogger("llm_stream")


class SettleLost(Protocol):
    def settle_lost(self, lost: LostStream, record: UsageRecord, bill: Bill, currency: str | None) -> None:
        """Write the record of a lost stream, and call the hooks. `currency` is that of its budget reservation."""


class Reaper:
    def __init__(self, store: Store, settings: Settings, books: SettleLost) -> None:
        self._store = store
        self._settings = settings
        self._books = books
        self._lock = threading.Lock()
        self._unsettled: list[tuple[LostStream, UsageRecord, Bill, str | None]] = []
        self._settling: threading.Thread | None = None

    def end(self, stream_id: str) -> Kept | None:
        """End a lost stream, unless it has an end. Return the stream as the store has it then; None if it is not there.

        Only one worker can write the end, and that worker settles the stream. Raises `LogUnavailable`.
        """
        return self._end_unless_ended(stream_id, self._store.read(stream_id)[0])

    def _end_unless_ended(self, stream_id: str, kept: Kept | None) -> Kept | None:
        if kept is None:
            return None
        if kept.status is not None:
            self._store.bury(stream_id, kept.header, self._settings.retention_s)
            return kept
        return self._end(stream_id, kept)

    def refresh(self, mirror: Mirror, *, has_ended: bool = False) -> None:
        """Read a stream from the store again, because its worker does not write it any more.

        `has_ended` says that the stream has ended, even if the store lacks the end. Raises `LogUnavailable`.
        """
        kept, owner_of_ended = self._store.read(mirror.id)
        has_end_here = kept is not None and kept.status is not None
        if not has_end_here and (has_ended or (kept is None and owner_of_ended is not None)):
            mirror.expire()
            return
        kept = self._end_unless_ended(mirror.id, kept)
        if kept is None:  # the store came back empty
            self._store.recreate(mirror.opening())
            kept = self.end(mirror.id)
        for first, events in kept.batches if kept else ():
            mirror.add(first, events)

    def _end(self, stream_id: str, kept: Kept) -> Kept | None:
        header, failure, by = kept.header, _failure(stream_id), secrets.token_bytes(8)
        lost = _lost(stream_id, kept)
        record, bill = self._account(lost, kept.account, failure)
        events = Ending("interrupted", failure=failure, usage=bill.usage_event()).events()
        fields = {"events": encode(events), "status": b"interrupted", "by": by}
        entry = Entry(stream_id, LOST + len(events) - 1, fields)
        is_ours = self._store.end_lost(entry, header, self._settings.retention_s)
        if is_ours:
            kept.add(LOST, events, "interrupted")
        else:
            now, _ = self._store.read(stream_id)
            is_ours = now is not None and now.ended_by == by  # the reply to an earlier attempt was lost
            kept = now or kept
        if is_ours:
            logger.warning("stream %s has lost its worker %s", stream_id, header.worker)
            lost = replace(lost, events=[*lost.events, *events])
            self._settle_soon(lost, record, bill, kept.account.currency)
        return kept

    def _account(self, lost: LostStream, account: Account, failure: Failure) -> tuple[UsageRecord, Bill]:
        attempts = [call.attempt() for call in account.calls] or [Attempt(lost.model, accepted=True)]
        ending = Ending("interrupted", failure=failure, attempts=tuple(attempts))
        return account_of_lost(lost, ending, self._settings.prices)

    def _settle_soon(self, lost: LostStream, record: UsageRecord, bill: Bill, currency: str | None) -> None:
        """Settle in another thread: hooks may be slow, and other lost streams are waiting for their end."""
        with self._lock:
            self._unsettled.append((lost, record, bill, currency))
            if self._settling is None or not self._settling.is_alive():
                self._settling = threading.Thread(target=self._settle_all, name="llm_stream lost", daemon=True)
                self._settling.start()

    def _settle_all(self) -> None:
        while True:
            with self._lock:
                if not self._unsettled:
                    self._settling = None
                    return
                lost, record, bill, currency = self._unsettled.pop(0)
            try:
                self._books.settle_lost(lost, record, bill, currency)
            except Exception:
                logger.exception("cannot settle the lost stream %s", lost.id)


def _lost(stream_id: str, kept: Kept) -> LostStream:
    """The stream as the store has it, before a worker writes its end."""
    header = kept.header
    return LostStream(
        id=stream_id,
        owner=header.owner,
        model=header.model,
        started=datetime.fromtimestamp(header.created, UTC),
        key=header.key,
        metadata=header.metadata,
        ttft_s=kept.account.ttft_s,
        events=kept.events,
    )


def _failure(stream_id: str) -> Failure:
    """The same failure each time for a stream: if the engine loses the end, a worker writes it again."""
    error = WorkerLost()
    error.error_id = blake2b(stream_id.encode(), digest_size=6).hexdigest()
    return error.failure()
