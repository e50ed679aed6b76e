"""Where chat completions are asked for: the `/chat/completions` of a client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx2
import msgspec
import openai
from openai import OpenAI
from openai import Stream

from .openai_client import has_constant_headers
from .openai_client import http_client_of
from .transport import LeanTransport
from .transport import Prepared

PATH = "/chat/completions"
MOVED = (301, 302, 303, 307, 308)
REFUSED = (401, 403)

REQUEST_ID = ("x-generation-id", "x-request-id")
"""Where a provider says its own name of a call; OpenRouter's exports know the first."""

Body = dict[str, Any]


class Endpoint:
    """Sends requests as the SDK would: to its URL, with its headers, raising its errors.

    The SDK builds each request anew, which costs more than all else in a request. But all that it makes for an `OpenAI`
    client over our own transport are the same, except for the body: so once two of them were, the head is used again.
    What may be made otherwise (another class of client, credentials that change, an `http_client` of the user's own, a
    body that is not plain JSON) is sent by the SDK every time.
    """

    def __init__(self, client: OpenAI, transport: LeanTransport | None = None) -> None:
        """`transport` is our own, if the client's requests go through it."""
        self.base_url = str(client.base_url)
        self.output_limit_name = _output_limit_name(client)
        self._client = client
        self._transport = transport if has_constant_headers(client) else None
        self._last: Prepared | None = None
        self._proven: Prepared | None = None

    def post(self, body: Body) -> httpx2.Response:
        """The response; the caller reads its body, and closes it. Raises what the SDK raises, and httpx's errors."""
        if self._transport is not None and (proven := self._proven) is not None:
            try:
                return self._post_again(self._transport, proven, _json(body))
            except (TypeError, ValueError):
                pass  # the SDK knows more types, or says what is wrong
            except openai.APIStatusError as error:
                if error.status_code in MOVED + REFUSED:
                    self._last = self._proven = None  # the SDK may know better
                if error.status_code not in MOVED:
                    raise
        return self._post_by_sdk(body)

    def _post_by_sdk(self, body: Body) -> httpx2.Response:
        identity: dict[str, Any] = {"headers": {"Accept-Encoding": "identity"}}  # a compressor would hold tokens back
        post: Callable[..., Raw] = self._client.post
        response = post(PATH, body=body, cast_to=object, stream=True, stream_cls=Raw, options=identity).response
        if self._transport is not None and not response.history:
            last, self._last = self._last, self._transport.prepare(response.request)
            same = last is not None and self._last is not None and last.is_like(self._last)
            self._proven = last if same and "cookie" not in response.request.headers else None  # a cookie expires
        return response

    def _post_again(self, transport: LeanTransport, proven: Prepared, content: bytes) -> httpx2.Response:
        response = transport.send(proven, content)
        if "set-cookie" in response.headers:
            if (http_client := http_client_of(self._client)) is not None:
                http_client.cookies.extract_cookies(response)  # it would have kept it
            self._last = self._proven = None
        if response.is_success:
            return response
        try:
            response.read()
        finally:
            response.close()
        raise openai.APIStatusError(f"HTTP {response.status_code}", response=response, body=_error_in(response))

    def let_go(self) -> None:
        """Close what it has kept of connections. A client of the user's own is theirs to close."""
        if self._transport is not None:
            self._transport.close()

    def close(self) -> None:
        self._client.close()


class Raw(Stream[Any]):
    """In the place of the SDK's stream of models, which cost more than all else together: the response as it is."""

    def __init__(self, *, response: httpx2.Response, **_: Any) -> None:
        self.response = response


def request_id_of(response: httpx2.Response) -> str | None:
    return next((response.headers[name] for name in REQUEST_ID if name in response.headers), None)


def _json(body: Body) -> bytes:
    """As the SDK writes it. Raises what `json` raises."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def _error_in(response: httpx2.Response) -> object:
    try:
        body = msgspec.json.decode(response.content)
    except ValueError:
        return None
    return body.get("error", body) if isinstance(body, dict) else body


def _output_limit_name(client: OpenAI) -> str:
    """OpenAI has renamed `max_tokens`; most compatible servers know only the old name, and would ignore the limit."""
    renamed = client.base_url.host.endswith(("openai.com", "azure.com"))
    return "max_completion_tokens" if renamed else "max_tokens"
