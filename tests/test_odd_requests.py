"""Requests that no client of ours would send, which the server once answered wrongly."""

from __future__ import annotations

import pytest

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


@pytest.mark.parametrize("path", ["/llm", "/llm/", "/llm//", "/llm/%2f%2F", "/llm//v1", "/llm//%2fx/"])
def test_address_below_the_prefix_is_ours_however_many_slashes_it_has(site: Server, path: str) -> None:
    reading = Connection.get(site.port, path, "Connection: close")
    answer = reading.read_to_end()
    assert answer.startswith("HTTP/1.1 404 ")
    assert '"code":"not_found"' in answer
