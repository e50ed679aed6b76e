"""The stock OpenAI client for Python loses its connection, and goes on where it was, by the Responses API."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..conftest import Server
from ..proxy import Proxy
from .test_responses_python import asked
from .test_responses_python import client_at
from .test_responses_python import text_of
from .turns import SETTINGS as SETTINGS
from .turns import says
from .turns import was_asked_once


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_at(server.url) as client:
        yield client


@pytest.mark.parametrize("background", [False, True])
def test_responses_resume_in_the_middle_of_a_sentence(server: Server, upstream: Upstream, background: bool) -> None:
    gate = Gate()
    upstream.answer("Half a ", "sentence", gate, " and ", "the rest.")
    with Proxy(server.port) as proxy, client_at(proxy.url) as client:
        seen = []
        with pytest.raises((openai.APIConnectionError, httpx2.TransportError)):
            for event in asked(client, stream=True, background=background):
                seen.append(event)
                if text_of(seen) == "Half a sentence":
                    proxy.cut()
        id, number = seen[0].response.id, seen[-1].sequence_number
        rest = client.responses.retrieve(id, stream=True, starting_after=number)
        gate.open()
        seen += rest
    assert text_of(seen) == seen[-1].response.output_text == "Half a sentence and the rest."
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    was_asked_once(upstream)
    assert server.record(id.removeprefix("resp_"))["status"] == "completed"


class CutOnce(Proxy):
    """Loses the connection after so many bytes of the first answer."""

    def __init__(self, target: int, after: int) -> None:
        super().__init__(target)
        self._left = after
        self._is_answer = False
        self.is_cut = False

    def passed(self, data: bytes) -> bytes:
        self._is_answer = self._is_answer or data.startswith(b"HTTP/1.1 200")
        if self.is_cut or not self._is_answer:
            return data
        passed = data[: self._left]
        self._left -= len(passed)
        self.is_cut = len(passed) < len(data)
        return passed


def test_responses_resume_wherever_the_connection_is_lost(server: Server, upstream: Upstream) -> None:
    """Also in the middle of a frame. A client that has not seen the id asks again, with its key."""
    for after in range(0, 20_000, 397):
        upstream.requests.clear()
        says(upstream, "Half a ", "🙂 sen", "tence", " and ", "the rest.")
        with CutOnce(server.port, after) as proxy, client_at(proxy.url) as client:
            seen = read_across(client, str(uuid.uuid4()))
            is_cut = proxy.is_cut
        assert text_of(seen) == seen[-1].response.output_text == "Half a 🙂 sentence and the rest."
        assert [event.sequence_number for event in seen] == list(range(len(seen)))
        was_asked_once(upstream)
        if not is_cut:
            break
    assert 10 < after / 397 < 49


def read_across(client: OpenAI, key: str) -> list[Any]:
    """All events, whatever happens to the connection once."""
    seen: list[Any] = []
    try:
        for event in asked(client.with_options(max_retries=0), stream=True, extra_headers={"Idempotency-Key": key}):
            seen.append(event)
    except (openai.APIConnectionError, httpx2.TransportError):
        if not seen:
            return list(asked(client, stream=True, extra_headers={"Idempotency-Key": key}))
        id, number = seen[0].response.id, seen[-1].sequence_number
        seen += client.responses.retrieve(id, stream=True, starting_after=number)
    return seen


def test_responses_resume_by_an_idempotency_key(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    key = {"Idempotency-Key": str(uuid.uuid4())}
    first = list(asked(client, stream=True, extra_headers=key))
    assert list(asked(client, stream=True, extra_headers=key)) == first
    was_asked_once(upstream)
