"""Reads the engine's settings that may harm streams."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING
from typing import Any

from .engine import Engine

if TYPE_CHECKING:
    from redis import Redis


class Health:
    """Each method takes one or two round trips, and raises `LogUnavailable`."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def policy(self) -> str | None:
        """The `maxmemory-policy`; None where it cannot be read."""
        policy: str | None = self._info("memory").get("maxmemory_policy")
        return policy

    def keeps_data(self) -> bool | None:
        """Whether the engine writes its data to a disk; None where that cannot be read."""
        from redis.exceptions import RedisError

        if self._info("persistence").get("aof_enabled"):
            return True

        def has_snapshots(redis: Redis) -> bool | None:
            try:
                return bool(redis.config_get("save").get("save"))
            except RedisError:  # hosted engines often forbid CONFIG
                return None

        return self._engine.run(has_snapshots)

    def clock_offset_s(self) -> float:
        """By how many seconds, at least, the engine's clock is ahead of this machine's; negative if it is behind.

        0 if the duration of the round trip can explain the difference.
        """

        def compare(redis: Redis) -> float:
            redis.ping()  # connect before the measurement
            before = time()
            seconds, microseconds = redis.time()
            return ahead_s(seconds + microseconds / 1e6, before, time())

        return self._engine.run(compare)

    def _info(self, section: str) -> dict[str, Any]:
        from redis.exceptions import NoPermissionError

        def info(redis: Redis) -> dict[str, Any]:
            try:
                return redis.info(section)
            except NoPermissionError:
                return {}

        return self._engine.run(info)


def ahead_s(theirs: float, before: float, after: float) -> float:
    """By how many seconds, at least, another clock is ahead that was read between `before` and `after`."""
    if theirs > after:
        return theirs - after
    return min(0.0, theirs - before)
