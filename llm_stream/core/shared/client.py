"""The connections to Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...errors import ConfigError

if TYPE_CHECKING:
    from redis import Redis

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}

SLOW_S = 0.4
"""A store that needs longer for one round trip counts as unavailable."""


def check(url: str) -> None:
    """Raises `ConfigError`."""
    try:
        import redis  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL needs {error.name}: pip install 'flask-llm-stream[redis]'") from error
    try:
        connect(url, 1).connection_pool.make_connection()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL is wrong: {error}") from error


def connect(url: str, connections: int, wait_s: float = 0.0) -> Redis:
    """A client that connects when it is used. `wait_s` is how long its commands may wait for something to happen."""
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return Redis.from_url(
        _redis(url),
        max_connections=connections,
        socket_timeout=wait_s + SLOW_S,
        socket_connect_timeout=SLOW_S,
        retry=Retry(NoBackoff(), 1),  # a kept connection may be dead
        health_check_interval=0,
        protocol=2,
    )


def _redis(url: str) -> str:
    """`valkey://` speaks the same protocol."""
    scheme, separator, rest = url.partition("://")
    return SCHEMES.get(scheme, scheme) + separator + rest
