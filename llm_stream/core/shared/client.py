"""The connections to Redis or Valkey, to a cluster of them, or to the master that Sentinel names."""

from __future__ import annotations

from typing import TYPE_CHECKING
from typing import Any
from typing import cast
from urllib.parse import unquote
from urllib.parse import urlsplit

from ...errors import ConfigError

if TYPE_CHECKING:
    from redis import Redis

SLOW_S = 0.4
"""A store that needs longer for one round trip counts as unavailable."""


def check(url: str) -> None:
    """Raises `ConfigError` if redis-py is missing or the URL is wrong. Does not connect."""
    try:
        import redis  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL needs {error.name}: pip install 'flask-llm-stream[redis]'") from error
    try:
        if kind_of(url) == "sentinel":
            _sentinels(url)
        else:
            from redis import ConnectionPool

            ConnectionPool.from_url(_plain(url)).make_connection()
    except (ValueError, TypeError) as error:
        raise ConfigError(f"LLM_STREAM_LOG_URL is wrong: {error}") from error


class Connections:
    """A client of redis-py, made on first use: a client of a cluster connects as soon as it is made."""

    def __init__(self, url: str, count: int, wait_s: float = 0.0) -> None:
        """`count` is the maximum number of connections. `wait_s` is how long a blocking command may wait for data."""
        self._url = url
        self._count = count
        self._wait_s = wait_s
        self._redis: Redis | None = None

    @property
    def redis(self) -> Redis:
        """Raises redis-py's errors."""
        if self._redis is None:
            self._redis = self._connect()
        return self._redis

    def close(self) -> None:
        redis, self._redis = self._redis, None
        if redis is not None:
            redis.close()

    def _connect(self) -> Redis:
        from redis import Redis
        from redis import RedisCluster
        from redis import Sentinel
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {
            "max_connections": self._count,
            "socket_timeout": self._wait_s + SLOW_S,
            "socket_connect_timeout": SLOW_S,
            "retry": Retry(NoBackoff(), 1),  # a kept connection may be dead
            "protocol": 2,
        }
        kind = kind_of(self._url)
        if kind == "cluster":
            return cast("Redis", RedisCluster.from_url(_plain(self._url), **options))
        if kind == "sentinel":
            sentinels, name, login = _sentinels(self._url)
            about = {"socket_timeout": SLOW_S, "socket_connect_timeout": SLOW_S}
            sentinel = Sentinel(sentinels, sentinel_kwargs=about)  # type: ignore[no-untyped-call]
            return cast("Redis", sentinel.master_for(name, **login, **options))  # type: ignore[no-untyped-call]
        return Redis.from_url(_plain(self._url), **options)


def kind_of(url: str) -> str:
    """`cluster`, `sentinel`, or an empty string for a single engine."""
    return url.partition("://")[0].partition("+")[2]


def _plain(url: str) -> str:
    """The URL as redis-py knows it: `valkey://` speaks the same protocol."""
    scheme, separator, rest = url.partition("://")
    scheme = scheme.partition("+")[0].replace("valkeys", "rediss").replace("valkey", "redis")
    return scheme + separator + rest


def _sentinels(url: str) -> tuple[list[tuple[str, int]], str, dict[str, Any]]:
    """From `redis+sentinel://user:password@host:26379,host:26379/name/0`: the sentinels, the name, and the login.

    Raises `ValueError`.
    """
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    name, _, database = parts.path.strip("/").partition("/")
    if not name:
        raise ValueError("give the name of the master after the sentinels: redis+sentinel://host:26379/mymaster")
    sentinels = [(host, int(port or 26379)) for host, _, port in (item.partition(":") for item in hosts.split(","))]
    options = {"username": unquote(user) or None, "password": unquote(password) or None, "db": int(database or 0)}
    return sentinels, name, options | ({"ssl": True} if parts.scheme.startswith(("rediss", "valkeys")) else {})
