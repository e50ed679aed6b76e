"""Redis or Valkey: round trips to it, and whether it is available."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING
from typing import Any
from typing import TypeVar

from ...errors import LogUnavailable
from . import client

if TYPE_CHECKING:
    from redis.client import Pipeline

logger = logging.getLogger("llm_stream")

RETRY_AFTER_S = 2.0

TOO_LATE = "equal or smaller"
"""In the answer to an entry whose id is not above the last one's."""

Result = TypeVar("Result")
Fill = Callable[["Pipeline"], None]


class Engine:
    """Thread-safe. While the engine is away, every round trip but a probe raises `LogUnavailable` at once."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.away_since: float | None = None
        self.forget()

    def forget(self) -> None:
        """After a fork."""
        self._redis = client.pooled(self._url)
        self._blocking = client.blocking(self._url)

    def close(self) -> None:
        """Close all connections but the one that waits."""
        self._redis.close()

    def close_waiting(self) -> None:
        """Called by the thread that waits: redis-py fails oddly if another one closes its connection."""
        self._blocking.close()

    def check(self) -> None:
        """Raises `LogUnavailable` while the engine is away."""
        if self.away_since is not None:
            raise LogUnavailable(retry_after=RETRY_AFTER_S)

    def run(self, command: Callable[[Any], Result]) -> Result:
        """The result of one command. Raises `LogUnavailable`."""
        return self._run(lambda: command(self._redis))

    def pipeline(self, fill: Fill, *, may_exist: bool = False, is_probe: bool = False) -> list[Any]:
        """The results of the commands that `fill` adds, in one round trip. Raises `LogUnavailable` if one has failed.

        `may_exist`: an entry that is too late is a result, and no failure. `is_probe`: try even if the engine is away,
        and find out whether it is back.
        """

        def run() -> list[Any]:
            pipe = self._redis.pipeline(transaction=False)
            fill(pipe)
            results: list[Any] = pipe.execute(raise_on_error=False)
            for result in results:
                if isinstance(result, Exception) and not (may_exist and TOO_LATE in str(result)):
                    raise result
            return results

        results = self._run(run, is_probe=is_probe)
        if is_probe:
            self._is_back()
        return results

    def wait(self, stream: str, after: str) -> list[tuple[bytes, Mapping[bytes, bytes]]]:
        """The entries of a stream after id `after`. Waits `client.BLOCK_S` for the first.

        Raises `LogUnavailable`.
        """
        try:
            found: Any = self._blocking.xread({stream: after}, count=200, block=int(client.BLOCK_S * 1000))
        except _errors() as error:
            raise LogUnavailable(retry_after=RETRY_AFTER_S) from error
        return [entry for _, entries in found for entry in entries]

    def _run(self, work: Callable[[], Result], *, is_probe: bool = False) -> Result:
        if not is_probe:
            self.check()
        try:
            return work()
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


def milliseconds(seconds: float) -> int:
    return max(1, int(seconds * 1000))


def _errors() -> tuple[type[Exception], ...]:
    from redis.exceptions import RedisError

    return (RedisError, OSError)
