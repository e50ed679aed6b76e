"""The connections to Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any

from ...errors import ConfigError

if TYPE_CHECKING:
    from redis import Redis

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}

SLOW_S = 0.4
"""A store that needs longer for one round trip counts as unavailable."""

BLOCK_S = 1.0
"""How long the inbox waits for a message before it asks again."""

POOL = 8
"""Connections for everything but the inbox. A round trip takes less than a millisecond, so they are seldom all used."""


def check(url: str) -> None:
    """Raises `ConfigError`."""
    try:
        import redis  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL needs {error.name}: pip install 'flask-llm-stream[redis]'") from error
    try:
        pooled(url).connection_pool.make_connection()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL is wrong: {error}") from error


def pooled(url: str) -> Redis:
    """For commands that return at once. Connects when used."""
    from redis import BlockingConnectionPool
    from redis import Redis

    pool = BlockingConnectionPool.from_url(_redis(url), max_connections=POOL, timeout=SLOW_S, **_options(SLOW_S))
    return Redis.from_pool(pool)


def blocking(url: str) -> Redis:
    """One connection, for the command that waits."""
    from redis import Redis

    return Redis.from_url(_redis(url), max_connections=1, **_options(BLOCK_S + SLOW_S))


def _redis(url: str) -> str:
    """`valkey://` speaks the same protocol."""
    scheme, separator, rest = url.partition("://")
    return SCHEMES.get(scheme, scheme) + separator + rest


def _options(timeout: float) -> dict[str, Any]:
    """One immediate retry: it costs nothing, and a kept connection may be dead."""
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return {
        "socket_timeout": timeout,
        "socket_connect_timeout": SLOW_S,
        "retry": Retry(NoBackoff(), 1),
        "health_check_interval": 0,
        "protocol": 2,
    }
