"""This process as one of the workers that share a log: its name, its lease and its two threads."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable
from collections.abc import Sequence
from time import monotonic
from time import sleep
from typing import TYPE_CHECKING

from ...errors import LogUnavailable
from .engine import Engine
from .entries import Claim
from .health import Health
from .inbox import Inbox
from .lease import Lease
from .messages import Leave
from .mirror import Mirror
from .mirror import Mirrors
from .reaper import Reaper
from .roster import Roster
from .shipper import Shipper
from .store import Entry
from .store import Opening
from .store import Store

if TYPE_CHECKING:
    from redis.client import Pipeline

logger = logging.getLogger("llm_stream")

PAUSE_S = 0.2
"""Between attempts to read the inbox while the engine is away."""

LIST_S = 10.0
"""How often the list of this worker's streams is rewritten: a delayed command may have put an ended stream back."""


AllClaims = Callable[[], Sequence[tuple[bytes, Claim]]]
"""Returns the keys that this process knows, with their owners."""


class Worker:
    """One thread ships events and renews the lease; the other reads the inbox."""

    def __init__(self, engine: Engine, store: Store, roster: Roster, reaper: Reaper, claims: AllClaims) -> None:
        self.name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self.shipper = Shipper(self.name, store, roster)
        self.mirrors = Mirrors()
        self.inbox = Inbox(self.name, roster, self.shipper, self.mirrors, reaper)
        self.lease = Lease(self.name, roster)
        self._engine = engine
        self._store = store
        self._roster = roster
        self._reaper = reaper
        self._claims = claims
        self._withdrawn: list[tuple[Opening, Entry]] = []
        self._list_at = 0.0
        self._lock = threading.Lock()
        self._reaping = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._is_closing = False
        self._is_policy_checked = False

    def begin(self) -> None:
        """Raises `RuntimeError` if no thread can be started."""
        if self._threads:
            return
        with self._lock:
            if not self._threads:
                self._is_closing = False
                self.inbox.is_open, self.lease.due_at = False, 0.0  # it may have signed off before
                for name, run in (("log", self._ship), ("inbox", self._receive)):
                    thread = threading.Thread(target=run, name=f"llm_stream {name}", daemon=True)
                    thread.start()
                    self._threads.append(thread)

    def close(self, within_s: float) -> None:
        """Ship the remaining events and sign off. Another worker ends the streams that cannot be shipped in time."""
        with self._lock:
            threads, self._threads, self._is_closing = self._threads, [], True
        self.shipper.bell.ring()
        if threads:
            threads[0].join(within_s)

    def withdraw(self, opening: Opening, end: Entry) -> None:
        """Withdraw a refused stream. If the engine is away, a later beat does it."""
        self._withdrawn.append((opening, end))
        try:
            self._withdraw_all()
        except LogUnavailable:
            pass

    def leave(self, mirror: Mirror) -> None:
        """Drop the mirror, and tell the stream's worker that this worker has no readers of it any more."""
        if self.mirrors.drop(mirror) and not mirror.log.ended:
            try:
                self.inbox.send(mirror.header.worker, Leave(self.name, [mirror.id]))
            except LogUnavailable:  # that worker stops counting this one's readers by itself
                pass

    # The thread that ships

    def _ship(self) -> None:
        while not self._is_closing:
            self.shipper.wait(self.lease.due_at)
            self._try(self.shipper.ship)
            if monotonic() >= self.lease.due_at:
                self._try(self._beat)
        self._try(self._sign_off)

    def _try(self, work: Callable[[], None]) -> None:
        """A failure must not end the thread: other workers would take this one for dead."""
        try:
            work()
        except LogUnavailable:
            pass
        except Exception:
            logger.exception("the thread of the shared log failed; it tries again")

    def _beat(self) -> None:
        followed = [mirror for mirror in self.mirrors if mirror.readers and not mirror.log.ended]
        is_list_due = monotonic() >= self._list_at

        def also(pipe: Pipeline) -> None:
            self._roster.add_messages(pipe, self.inbox.follow(followed))
            if is_list_due:
                self._roster.list_anew(
                    pipe, self.name, ((copy.stream.id, copy.readers) for copy in self.shipper.copies)
                )
            else:
                self._roster.report(pipe, self.name, self.shipper.readers())
            self._roster.renew_inbox(pipe, self.name, self.inbox.read)

        beat = self.lease.beat(also)
        if is_list_due:
            self._list_at = monotonic() + LIST_S
        self._check_policy()
        if self.lease.was_emptied:
            logger.error("the log of LLM_STREAM_LOG_URL has come back empty: this worker writes its data to it again")
            self._store.claim_again(self._claims())
        if self.lease.may_have_missed:
            self.shipper.check_all()
            self.lease.may_have_missed = False
        for mirror in self.mirrors:
            if not mirror.is_wanted or mirror.log.ended:
                self.leave(mirror)
        self._withdraw_all()
        self._reap(beat.expired)

    def _withdraw_all(self) -> None:
        for withdrawn in list(self._withdrawn):
            self._store.withdraw(*withdrawn)
            if withdrawn in self._withdrawn:
                self._withdrawn.remove(withdrawn)

    def _check_policy(self) -> None:
        if self._is_policy_checked:
            return
        policy = Health(self._engine).policy()
        self._is_policy_checked = True
        if policy not in (None, "noeviction"):
            logger.error(
                "the engine of LLM_STREAM_LOG_URL has maxmemory-policy %s: when its memory is full, it deletes running"
                " streams. Set the policy to noeviction",
                policy,
            )

    def _sign_off(self) -> None:
        self.shipper.ship(everything=True)
        self.shipper.ship(everything=True)  # now the ends are pushed, too
        self._withdraw_all()
        if not self.shipper.copies:
            self._roster.sign_off(self.name)
        self._engine.close()

    # The streams of dead workers

    def _reap(self, expired: Sequence[str]) -> None:
        """End the streams of dead workers in another thread: it may take long, and this thread must renew the lease."""
        dead = list(filter(self.lease.is_lost, expired))
        orphans = [mirror for mirror in self.mirrors if self.lease.is_lost(mirror.header.worker)]
        if (dead or orphans) and self._reaping.acquire(blocking=False):
            threading.Thread(target=self._end_all, args=(dead, orphans), name="llm_stream reaper", daemon=True).start()

    def _end_all(self, dead: Sequence[str], orphans: Sequence[Mirror]) -> None:
        try:
            for mirror in orphans:  # these have waiting readers
                self._reaper.refresh(mirror)
            for worker in dead:
                for stream_id in self._roster.running(worker):
                    self._reaper.end(stream_id)
                self._roster.retire(worker)
        except LogUnavailable:
            pass
        except Exception:
            logger.exception("cannot end the streams of a dead worker; the next beat tries again")
        finally:
            self._reaping.release()

    # The thread that reads the inbox

    def _receive(self) -> None:
        while not self._is_closing:
            try:
                self.inbox.receive()
            except LogUnavailable:
                sleep(PAUSE_S)
            except Exception:
                logger.exception("the inbox thread of the shared log failed; it tries again")
                sleep(PAUSE_S)
        self._engine.close_waiting()
