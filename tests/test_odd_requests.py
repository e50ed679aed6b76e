"""Requests that no client of ours would send, which the server once answered wrongly."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from flask import Flask

from .conftest import Connection
from .conftest import Server
from .conftest import eventually

BROKEN = {
    "no size": "zz\n{}",
    "no end": "5\n{}\n\n\n0\n\nmore",
    "a bad trailer": "2\n{}\n0\nTrailer: x\n\n",
}


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("path", ["chat", "v1/chat/completions", "v1/responses", "ui/chat", "agui"])
def test_broken_chunks_are_the_clients_mistake(site: Server, broken: str, path: str) -> None:
    head = f"POST /llm/{path} HTTP/1.1\nHost: x\nContent-Type: application/json\nTransfer-Encoding: chunked\n"
    reading = Connection(site.port, f"{head}Connection: close\n\n{BROKEN[broken]}")
    assert reading.read_until("\r\n").startswith("HTTP/1.1 400 ")
    eventually(site.at_rest)
    assert "Traceback" not in site.log


@pytest.mark.parametrize(
    "path", ["/llm", "/llm/", "/llm//", "/llm/%2f%2F", "/llm//v1", "/llm//%2fx/", "/llm/a%0Ab", "/llm/v1/models/a%0A"]
)
def test_address_below_the_prefix_is_ours_whatever_is_in_it(site: Server, path: str) -> None:
    reading = Connection.get(site.port, path, "Connection: close")
    answer = reading.read_to_end()
    assert answer.startswith("HTTP/1.1 404 ")
    assert '"code":"not_found"' in answer


@pytest.mark.parametrize("host", ["a" * 7000, "http://[", "evil.example:x"])
@pytest.mark.parametrize("path", ["chat", "v1/models", "nowhere"])
def test_host_that_may_not_be_asked_is_told_in_our_form(make_app: Callable[..., Flask], host: str, path: str) -> None:
    app = make_app()
    app.config["TRUSTED_HOSTS"] = ["localhost"]
    answer = app.test_client().get(f"/llm/{path}", headers={"Host": host})
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "bad_request")
    assert ("type" in answer.json["error"]) is path.startswith("v1/")
    assert app.test_client().get("/elsewhere", headers={"Host": host}).mimetype == "text/html"


def test_body_that_breaks_off_buys_nothing_although_it_is_json(site: Server) -> None:
    site.clear()
    head = "POST /llm/chat HTTP/1.1\nHost: x\nContent-Type: application/json\nContent-Length: 99\n\n"
    reading = Connection(site.port, head + '{"prompt": "hi"}')
    reading.socket.shutdown(socket.SHUT_WR)
    assert reading.read_until("\r\n").startswith("HTTP/1.1 400 ")
    eventually(site.at_rest)
    assert site.upstream and not site.upstream.requests
