"""What Open Responses has and we have not: it is refused in OpenAI's form, and nothing is bought."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import Server
from .open_responses import answered
from .open_responses import ask
from .test_open_responses import message
from .test_open_responses import model as model


def refused(answer: httpx2.Response, status: int = 400) -> dict[str, Any]:
    """An error in OpenAI's form."""
    assert answer.status_code == status, answer.text
    error: dict[str, Any] = answer.json()["error"]
    assert {"message", "type", "param", "code"} <= set(error)
    assert isinstance(error["message"], str) and isinstance(error["type"], str)
    return error


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools"),
        ({"tools": [{"type": "web_search", "external_web_access": False}]}, "tools"),
        ({"tools": [{"type": "mcp", "server_label": "x", "server_url": "https://x"}]}, "tools"),
        ({"input": [{"type": "compaction", "encrypted_content": "x"}]}, "input"),
        ({"input": [message("robot", "hi")]}, "input"),
        ({"previous_response_id": "resp_unknown"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"top_logprobs": 3}, "top_logprobs"),
    ],
)
def test_what_is_not_done_is_refused_by_name(site: Server, model: Upstream, body: dict[str, Any], named: str) -> None:
    error = refused(ask(site, **body))
    assert named in str(error["param"]) or named in error["message"]
    assert not model.requests


@pytest.mark.parametrize("path", ["responses/compact", "responses/input_tokens", "conversations", "embeddings"])
def test_what_is_not_there_is_not_found(site: Server, model: Upstream, path: str) -> None:
    url = f"{site.url}/llm/v1/{path}"
    answer = httpx2.post(url, json={"model": "openai/gpt-4o-mini", "input": "hi"}, timeout=PATIENCE_S)
    assert answer.status_code in (404, 405)
    refused(answer, answer.status_code)
    assert not model.requests


def test_input_items_are_not_kept_apart(site: Server, model: Upstream) -> None:
    model.answer("Hello")
    url = f"{site.url}/llm/v1/responses/{answered(site)['id']}/input_items"
    refused(httpx2.get(url, timeout=PATIENCE_S), 404)


def test_web_socket_is_not_there(site: Server) -> None:
    asked = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "eA==",
    }
    answer = httpx2.get(f"{site.url}/llm/v1/responses", headers=asked, timeout=PATIENCE_S)
    assert answer.status_code in (400, 404, 405)
    refused(answer, answer.status_code)
