"""The process's `OpenAI` client. The first stream makes the client, with a suitable connection pool."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from threading import Lock
from urllib.request import getproxies

import httpx2
from openai import DefaultHttpx2Client
from openai import OpenAI

from ..settings import ApiName
from . import lifeline
from .api import Api
from .chat import ChatCompletions
from .endpoint import Endpoint
from .responses import Responses
from .sdk import has_default_http_client
from .sdk import http_client_of
from .transport import LeanTransport

KEEP_ALIVE_CONNECTIONS = 100
KEEP_ALIVE_S = 60.0  # httpx's default of 5 s would cost most questions a new handshake


def know_the_platform() -> None:
    """Make the standard library cache the platform's name. Call this before there are streams.

    The SDK sends the platform in each request. To detect the platform, the standard library forks once. Under gevent, a
    fork handler that waits for a lock (such as OpenTelemetry's) also runs the other greenlets in the child process. A
    response that a greenlet writes at that moment would be written twice.
    """
    platform.platform()


class Client:
    """Makes the process's `OpenAI` client when the first stream needs it.

    A client made at import, before gunicorn forks or gevent patches, has a pool whose lock and sockets do not work in
    this process.
    """

    def __init__(self, client: OpenAI | Callable[[], OpenAI] | None) -> None:
        """`client` is the app's client, or a function that makes it; None for the SDK's defaults."""
        self._app_client = client
        self._lock = Lock()
        self._pid: int | None = None
        self._key: str | None = None
        self._endpoints: dict[ApiName, Endpoint] = {}

    def endpoint(self, api: ApiName = "chat") -> Endpoint:
        """The endpoint of an API; all share one client. Raises `openai.OpenAIError` if no API key is configured."""
        with self._lock:
            key = self._app_client.api_key if isinstance(self._app_client, OpenAI) else None
            if self._endpoints and self._pid == os.getpid() and self._key != key:
                for endpoint in self._endpoints.values():
                    endpoint.let_go()  # the app may have changed the client's key
                self._endpoints = {}
            if not self._endpoints or self._pid != os.getpid():
                self._endpoints, self._pid, self._key = self._make(), os.getpid(), key
            return self._endpoints[api]

    @property
    def base_url(self) -> str | None:
        try:
            return self.endpoint().base_url
        except Exception:  # the call will raise it
            return None

    @property
    def configured_base_url(self) -> str | None:
        """The base URL, without making a client; None if only a client would know it."""
        if isinstance(self._app_client, OpenAI):
            return str(self._app_client.base_url)
        return os.environ.get("OPENAI_BASE_URL") if self._app_client is None else None

    def close(self) -> None:
        """Close the connections. The next `endpoint()` makes a new client."""
        with self._lock:
            endpoints, self._endpoints = self._endpoints, {}
        for endpoint in endpoints.values():
            endpoint.close()

    def _make(self) -> dict[ApiName, Endpoint]:
        # httpx's own transport handles proxies
        lean = None if getproxies() else LeanTransport(keep_alive=KEEP_ALIVE_CONNECTIONS, keep_alive_s=KEEP_ALIVE_S)
        if self._app_client is None:
            client = OpenAI(http_client=_http_client(lean))
        else:
            client = self._app_client if isinstance(self._app_client, OpenAI) else self._app_client()
            if has_default_http_client(client):
                client = client.with_options(http_client=_http_client(lean), timeout=client.timeout)
            else:
                lean = None
        if (http_client := http_client_of(client)) is not None:
            lifeline.watch(http_client)
        # we retry ourselves: the SDK would sleep through a stop, and ignores the first-token deadline
        client = client.with_options(max_retries=0)
        apis: dict[ApiName, Api] = {"chat": ChatCompletions(client), "responses": Responses()}
        return {name: Endpoint(client, api, lean) for name, api in apis.items()}


def _http_client(lean: LeanTransport | None) -> httpx2.Client:
    if lean is None:
        limits = httpx2.Limits(
            max_connections=None,  # LLM_STREAM_MAX_STREAMS is the limit; a lower one would queue silently
            max_keepalive_connections=KEEP_ALIVE_CONNECTIONS,
            keepalive_expiry=KEEP_ALIVE_S,
        )
        return DefaultHttpx2Client(limits=limits)
    return DefaultHttpx2Client(transport=lean)
