"""Sends requests to the upstream: first through the SDK, then, once the head is known, directly over our transport."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import openai
from openai import OpenAI
from openai import Stream

from .api import Api
from .api import Body
from .sdk import has_constant_headers
from .sdk import http_client_of
from .transport import LeanTransport
from .transport import Prepared

MOVED = (301, 302, 303, 307, 308)
REFUSED = (401, 403)


class Endpoint:
    """Sends requests as the SDK would: to the same URL, with the same headers, and with the same errors.

    The SDK builds each request from scratch, which is the most expensive part of a request. With an `OpenAI` client
    over our own transport, only the body differs between requests. So once two requests had the same head, the endpoint
    reuses that head. The SDK still sends every request whose head may differ: with another client class, changing
    credentials, the app's own `http_client`, or a body that is not plain JSON.
    """

    def __init__(self, client: OpenAI, api: Api, transport: LeanTransport | None = None) -> None:
        """`transport` is our transport if the client uses it, else None."""
        self.base_url = str(client.base_url)
        self.api = api
        self._client = client
        self._transport = transport if has_constant_headers(client) else None
        self._last: Prepared | None = None
        self._proven: Prepared | None = None

    def post(self, body: Body) -> httpx2.Response:
        """Return the response. The caller reads and closes its body. Raises the SDK's and httpx's errors."""
        response = self._post_again(body)
        if response is None or response.status_code in MOVED:
            return self._post_by_sdk(body)
        if response.is_success:
            return response
        raise openai.APIStatusError(f"HTTP {response.status_code}", response=response, body=_error_in(response))

    def _post_again(self, body: Body) -> httpx2.Response | None:
        """Send the body with the proven head; None if only the SDK can send it. Reads and closes an error response."""
        transport, proven = self._transport, self._proven
        if transport is None or proven is None:
            return None
        try:
            content = json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError):
            return None  # the SDK serializes more types, or raises its own error
        response = transport.send(proven, content)
        has_cookie = "set-cookie" in response.headers
        if has_cookie and (http_client := http_client_of(self._client)) is not None:
            http_client.cookies.extract_cookies(response)  # as the client does
        if has_cookie or response.status_code in MOVED + REFUSED:
            self._last = self._proven = None  # the SDK may make another head now
        if not response.is_success:
            try:
                response.read()
            finally:
                response.close()
        return response

    def _post_by_sdk(self, body: Body) -> httpx2.Response:
        identity: dict[str, Any] = {"headers": {"Accept-Encoding": "identity"}}  # compression would delay tokens
        post: Callable[..., Raw] = self._client.post
        response = post(
            self.api.path, body=body, cast_to=object, stream=True, stream_cls=Raw, options=identity
        ).response
        if self._transport is not None and not response.history:
            last, self._last = self._last, self._transport.prepare(response.request)
            same = last is not None and self._last is not None and last.is_like(self._last)
            self._proven = last if same and "cookie" not in response.request.headers else None  # cookies expire
        return response

    def list_models(self, within_s: float) -> None:
        """Ask for the list of models, which is free. Raises the SDK's errors."""
        self._client.with_options(timeout=within_s).models.list()

    def let_go(self) -> None:
        """Close the idle connections. If the app passed its own client, the app closes it."""
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        self._client.close()


class Raw(Stream[Any]):
    """Gives access to the raw response. The SDK's own stream decodes each chunk, which costs more than all the rest."""

    def __init__(self, *, response: httpx2.Response, **_: Any) -> None:
        self.response = response


def _error_in(response: httpx2.Response) -> object:
    try:
        body = msgspec.json.decode(response.content)
    except ValueError:
        return None
    return body.get("error", body) if isinstance(body, dict) else body
