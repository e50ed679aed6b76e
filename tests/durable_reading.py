"""How tests look at a stream in the form of Durable Streams."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx2

from .conftest import eventually
from .here import Pair


def next_offset(response: httpx2.Response) -> str:
    assert response.status_code in (200, 204, 304), response.text
    return response.headers["Stream-Next-Offset"]


def is_closed(response: httpx2.Response) -> bool:
    return response.headers.get("Stream-Closed") == "true"


def whole(pair: Pair, url: str) -> httpx2.Response:
    """The stream from its beginning, once it is closed."""

    def closed() -> httpx2.Response | None:
        response = pair.a.get(f"{url}?offset=-1")
        return response if is_closed(response) else None

    response: httpx2.Response = eventually(closed)
    return response


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(message["text"] for message in messages if message["type"] == "delta")


def sse_events(response: str) -> list[tuple[str, Any]]:
    """The event stream of a response, without heartbeats."""
    body = response.partition("\r\n\r\n")[2]
    return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata:(.*)\n\n", body)]


def said(pair: Pair, url: str) -> httpx2.Response | None:
    """The stream so far, once the model has said something."""
    response = pair.b.get(f"{url}?offset=-1")
    return response if text_of(response.json()) else None


def readers(pair: Pair, url: str) -> int:
    """How many follow the stream at `b`."""
    with pair.b.app.app_context():
        return len(pair.b.llm.state.streams.find(None, url.rpartition("/")[2]).readers)
