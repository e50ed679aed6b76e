"""The line that a refused request has in the server's log: one, whatever the client sent."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from flask import Flask

EVIL = "x\nINFO:llm_stream:stream=1 status=completed\r\u2028\x85\x1b[2J\x00\u202ey"
HI = [{"role": "user", "content": "hi"}]

REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("/chat", {"prompt": "x", "model": EVIL}),
    ("/chat", {"prompt": "x", EVIL: 1}),
    ("/chat", {"messages": [{"role": EVIL, "content": "x"}]}),
    ("/chat", {"prompt": "x", "key": EVIL}),
    ("/v1/chat/completions", {"model": EVIL, "messages": HI}),
    ("/v1/chat/completions", {"messages": HI, "tools": [{"type": EVIL}]}),
    ("/v1/responses", {"input": [{"type": EVIL}]}),
    ("/v1/responses", {"input": "x", "previous_response_id": EVIL}),
    ("/v1/responses", {"input": [{"type": "item_reference", "id": EVIL}]}),
    ("/v1/responses", {"input": [{"type": "function_call", "call_id": EVIL, "name": "f", "arguments": "{}"}]}),
    ("/ui/chat", {"id": "c", "messages": [{"id": "1", "role": EVIL, "parts": []}]}),
    ("/agui", {"threadId": EVIL, "runId": "r", "messages": HI}),
]


def lines_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "llm_stream"]


@pytest.mark.parametrize(("path", "body"), REFUSED, ids=lambda value: str(value)[:40])
def test_refused_body_is_one_line_of_the_log(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, path: str, body: dict[str, Any]
) -> None:
    caplog.set_level(logging.INFO)
    assert 400 <= make_app().test_client().post(f"/llm{path}", json=body).status_code < 500
    (line,) = lines_of(caplog)
    assert line.startswith("request refused: ")
    assert line.isprintable()


@pytest.mark.parametrize("path", ["/streams/", "/v1/responses/", "/v1/models/", "/nothing/", "/chat?format="])
def test_refused_url_is_one_line_of_the_log(
    make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture, path: str
) -> None:
    caplog.set_level(logging.INFO)
    assert 400 <= make_app().test_client().get(f"/llm{path}{quote(EVIL)}").status_code < 500
    assert all(line.isprintable() for line in lines_of(caplog))
