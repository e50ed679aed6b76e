"""The workers: their leases, the streams that each writes, and their inboxes."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from .engine import Engine
from .engine import Fill
from .engine import evaluate
from .engine import milliseconds
from .keys import Keys
from .scripts import BEAT
from .scripts import RETIRE
from .store import REMEMBERED_S

if TYPE_CHECKING:
    from redis.client import Pipeline

INBOX_S = 30.0
"""How long an inbox is kept after its worker has renewed it."""

NO_MESSAGE = b""
"""Creates an inbox: Redis creates a stream only with an entry."""

MOST_MESSAGES = 10_000


class Beat(NamedTuple):
    epoch: str
    """Changes when the engine has lost its data."""
    alive: set[str]
    expired: list[str]
    run: str
    """Changes when the engine was restarted, or another engine took over."""


class Roster:
    def __init__(self, engine: Engine, keys: Keys) -> None:
        self._engine = engine
        self._keys = keys

    def beat(self, worker: str, lease_s: float, also: Fill) -> Beat:
        """Renew the lease of `worker`. `also` may add commands to the round trip. Raises `LogUnavailable`."""
        keys, fresh, long = self._keys, secrets.token_hex(8), milliseconds(REMEMBERED_S)

        def beat(pipe: Pipeline) -> None:
            evaluate(pipe, BEAT, keys.workers, worker, milliseconds(lease_s), int(REMEMBERED_S))
            pipe.set(keys.epoch, fresh, nx=True, get=True, px=long)
            pipe.pexpire(keys.epoch, long)
            also(pipe)

        (alive, expired, run), epoch, *_ = self._engine.probe(beat)
        return Beat(_text(epoch) if epoch else fresh, set(map(_text, alive)), list(map(_text, expired)), _text(run))

    def alive(self) -> list[str]:
        """The workers with a lease, including expired leases until their workers are retired."""
        found: Any = self._engine.run(lambda redis: redis.zrange(self._keys.workers, 0, -1))
        return list(map(_text, found))

    def running(self, worker: str) -> dict[str, int]:
        """The streams that `worker` writes, or left unfinished when it died, and how many readers each has."""
        found: Any = self._engine.run(lambda redis: redis.hgetall(self._keys.running(worker)))
        return {_text(stream_id): int(readers) for stream_id, readers in found.items()}

    def retire(self, worker: str) -> None:
        """Forget a worker whose lease has expired and whose streams have all ended."""
        if self._engine.run(lambda redis: redis.eval(RETIRE, 1, self._keys.workers, worker)):
            self._engine.run(lambda redis: redis.delete(self._keys.running(worker)))

    def sign_off(self, worker: str) -> None:
        """Forget a worker that writes no streams any more."""

        def sign_off(pipe: Pipeline) -> None:
            pipe.zrem(self._keys.workers, worker)
            pipe.delete(self._keys.inbox(worker))
            pipe.delete(self._keys.running(worker))

        self._engine.pipeline(sign_off)

    def report(self, pipe: Pipeline, worker: str, readers: Iterable[tuple[str, int]]) -> None:
        """Report how many readers these streams of `worker` have."""
        if counts := dict(readers):
            running = self._keys.running(worker)
            pipe.hset(running, mapping=counts)  # type: ignore[arg-type]
            pipe.pexpire(running, milliseconds(REMEMBERED_S))

    def list_anew(self, pipe: Pipeline, worker: str, readers: Iterable[tuple[str, int]]) -> None:
        """Replace the list of this worker's streams and their readers."""
        pipe.delete(self._keys.running(worker))
        self.report(pipe, worker, readers)

    # Inboxes

    def send(self, messages: Iterable[tuple[str, bytes]], also: Fill) -> None:
        """Put messages into the inboxes of workers. `also` may add commands before them. Raises `LogUnavailable`."""

        def send(pipe: Pipeline) -> None:
            also(pipe)
            self.add_messages(pipe, messages)

        self._engine.pipeline(send)

    def add_messages(self, pipe: Pipeline, messages: Iterable[tuple[str, bytes]]) -> None:
        """Messages to a dead worker are dropped as soon as its inbox has expired."""
        for worker, message in messages:
            pipe.xadd(self._keys.inbox(worker), {"m": message}, nomkstream=True, maxlen=MOST_MESSAGES)

    def receive(self, worker: str, after: str) -> list[tuple[str, bytes]]:
        """The messages after id `after`, with their ids. Waits for the first. Raises `LogUnavailable`."""
        return [(_text(id), fields[b"m"]) for id, fields in self._engine.wait(self._keys.inbox(worker), after)]

    def renew_inbox(self, pipe: Pipeline, worker: str, read: str) -> None:
        """Keep the inbox, or create it. Drop the messages before id `read`."""
        inbox = self._keys.inbox(worker)
        pipe.xadd(inbox, {"m": NO_MESSAGE}, minid=read)
        pipe.pexpire(inbox, milliseconds(INBOX_S))


def _text(value: bytes) -> str:
    return value.decode()
