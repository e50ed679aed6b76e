"""Redis or Valkey: round trips to it, and whether it is available."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from ...errors import LogUnavailable
from .client import Connections

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

logger = logging.getLogger("llm_stream")

RETRY_AFTER_S = 2.0

CONNECTIONS = 8
"""For requests. A round trip takes less than a millisecond, so they are seldom all used."""

QUEUE_S = 1.0
"""How long a request waits for a free connection."""

BLOCK_S = 1.0
"""How long the inbox waits for a message before it asks again."""

TOO_LATE = "equal or smaller"
"""Part of the engine's error for an entry whose id is not above the last id."""

Result = TypeVar("Result")
Fill = Callable[["Pipeline"], None]


class Engine:
    """Thread-safe. While the engine is away, every round trip except a probe raises `LogUnavailable` at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.away_since: float | None = None
        self.forget()

    def forget(self) -> None:
        """Replace all connections after a fork: the existing ones are the parent's."""
        self._requests = Connections(self._url, CONNECTIONS)
        self._free = threading.Semaphore(CONNECTIONS)
        self._probes = Connections(self._url, 1)
        self._blocking = Connections(self._url, 1, wait_s=BLOCK_S)

    def close(self) -> None:
        """Close all connections except the one that waits for messages."""
        self._requests.close()
        self._probes.close()

    def close_waiting(self) -> None:
        """Called by the thread that waits for messages: redis-py misbehaves if another thread closes its connection."""
        self._blocking.close()

    def check(self) -> None:
        """Raises `LogUnavailable` while the engine is away."""
        if self.away_since is not None:
            raise LogUnavailable(retry_after=RETRY_AFTER_S)

    def run(self, command: Callable[[Redis], Result]) -> Result:
        """The result of one command. Raises `LogUnavailable`."""
        return self._request(command)

    def pipeline(self, fill: Fill, *, may_exist: bool = False) -> list[Any]:
        """The results of the commands that `fill` adds, in one round trip. Raises `LogUnavailable` if one has failed.

        With `may_exist`, an entry whose id is not above the last id counts as a result, not as a failure.
        """
        return self._request(_filled(fill, may_exist))

    def ship(self, fill: Fill) -> list[Any]:
        """Like `pipeline`, for the thread that ships. It has its own connection, so it never waits for requests."""
        self.check()
        return self._run(_filled(fill, may_exist=True), self._probes)

    def probe(self, fill: Fill) -> list[Any]:
        """Like `pipeline`, but also tries while the engine is away, and so notices when it is back."""
        results = self._run(_filled(fill, may_exist=False), self._probes)
        self._is_back()
        return results

    def wait(self, stream: str, after: str) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        """The entries of a stream after id `after`. Waits up to `BLOCK_S` for the first.

        Raises `LogUnavailable`.
        """
        try:
            found: Any = self._blocking.redis.xread({stream: after}, count=200, block=int(BLOCK_S * 1000))
        except _errors() as error:
            raise LogUnavailable(retry_after=RETRY_AFTER_S) from error
        return [entry for _, entries in found for entry in entries]

    def _request(self, work: Callable[[Redis], Result]) -> Result:
        self.check()
        if not self._free.acquire(timeout=QUEUE_S):
            raise LogUnavailable(retry_after=RETRY_AFTER_S)
        try:
            self.check()  # another request may have failed while this one waited
            return self._run(work, self._requests)
        finally:
            self._free.release()

    def _run(self, work: Callable[[Redis], Result], connections: Connections) -> Result:
        try:
            return work(connections.redis)
        except _errors() as error:
            self._is_away(error)
            raise LogUnavailable(retry_after=RETRY_AFTER_S) from error

    def _is_away(self, error: Exception) -> None:
        if self.away_since is None:
            self.away_since = monotonic()
            what = " ".join(str(error).split())[:200]
            logger.error("the log of LLM_STREAM_LOG_URL is unavailable: %s: %s", type(error).__name__, what)

    def _is_back(self) -> None:
        since, self.away_since = self.away_since, None
        if since is not None:
            logger.warning("the log of LLM_STREAM_LOG_URL is available again, after %.1f s", monotonic() - since)


def _filled(fill: Fill, may_exist: bool) -> Callable[[Redis], list[Any]]:
    def run(redis: Redis) -> list[Any]:
        pipe = redis.pipeline(transaction=False)
        fill(pipe)
        results: list[Any] = pipe.execute(raise_on_error=False)
        for result in results:
            if isinstance(result, Exception) and not (may_exist and TOO_LATE in str(result)):
                raise result
        return results

    return run


def evaluate(pipe: Pipeline, script: str, key: str, *arguments: Any) -> None:
    """Add a script that uses one key. A pipeline of a cluster has no method for it."""
    pipe.execute_command("EVAL", script, 1, key, *arguments)  # type: ignore[no-untyped-call]


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisClusterException
    from redis.exceptions import RedisError

    return (RedisError, RedisClusterException, OSError)
