"""The `OpenAI` client of a process: made late, once, with a pool that fits."""

from __future__ import annotations

import platform
from collections.abc import Callable
from os import getpid
from threading import Lock
from urllib.request import getproxies

import httpx2
from openai import DefaultHttpx2Client
from openai import OpenAI

from . import httpx_pool
from .endpoint import Endpoint
from .openai_client import has_default_http_client
from .openai_client import http_client_of
from .transport import LeanTransport

KEEP_ALIVE_CONNECTIONS = 100
KEEP_ALIVE_S = 60.0  # httpx drops a connection after 5 s, so that every question but the quickest pays for a handshake


def know_the_platform() -> None:
    """Call this before there are streams.

    The SDK tells its platform in each request, and to find it out the standard library starts a process, once. Under
    gevent a fork may run the other greenlets in the child too, if what is to be done at a fork waits for a lock (as
    OpenTelemetry's does): a response that was being written then would be written twice.
    """
    platform.platform()


class Client:
    """Hands out the process's `OpenAI` client.

    It is made by the first stream, not at import: a client made before gunicorn forks, or before gevent patches,
    has a pool whose lock and sockets belong to another world.
    """

    def __init__(self, given: OpenAI | Callable[[], OpenAI] | None) -> None:
        self._given = given
        self._lock = Lock()
        self._pid: int | None = None
        self._key: str | None = None
        self._endpoint: Endpoint | None = None

    def endpoint(self) -> Endpoint:
        """Raises `openai.OpenAIError` where no key is configured."""
        with self._lock:
            key = self._given.api_key if isinstance(self._given, OpenAI) else None
            if self._endpoint is not None and self._pid == getpid() and self._key != key:
                self._endpoint.let_go()  # the operator has given the client another key
                self._endpoint = None
            if self._endpoint is None or self._pid != getpid():
                self._endpoint, self._pid, self._key = self._make(), getpid(), key
            return self._endpoint

    def close(self) -> None:
        """Close its connections; the next `endpoint()` makes a new client."""
        with self._lock:
            endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()

    def _make(self) -> Endpoint:
        given = self._given
        # what goes through a proxy, httpx knows better
        lean = None if getproxies() else LeanTransport(keep_alive=KEEP_ALIVE_CONNECTIONS, keep_alive_s=KEEP_ALIVE_S)
        if given is None:
            client = OpenAI(http_client=_http_client(lean))
        else:
            client = given if isinstance(given, OpenAI) else given()
            if has_default_http_client(client):
                client = client.with_options(http_client=_http_client(lean), timeout=client.timeout)
            else:
                lean = None
        if (http_client := http_client_of(client)) is not None:
            httpx_pool.watch(http_client)
        # retries are ours: the SDK would sleep through a stop, and knows nothing of the first-token deadline
        return Endpoint(client.with_options(max_retries=0), lean)


def _http_client(lean: LeanTransport | None) -> httpx2.Client:
    if lean is None:
        limits = httpx2.Limits(
            max_connections=None,  # LLM_STREAM_MAX_STREAMS is the limit; one below it would be a silent queue
            max_keepalive_connections=KEEP_ALIVE_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        return DefaultHttpx2Client(limits=limits)
    return DefaultHttpx2Client(transport=lean)
