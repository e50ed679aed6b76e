"""Clients that know a conversation, and no stream: it is found at every worker, wherever its log is kept."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall

from .conftest import SOON_S
from .conftest import Connection
from .here import LOGS
from .here import Here
from .here import Pair
from .here import sharing


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


def of_use_chat(chat: str, text: str = "hi") -> dict[str, Any]:
    return {"id": chat, "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": text}]}]}


def of_ag_ui(thread: str, run: str) -> dict[str, Any]:
    more: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwardedProps": {}}
    return {"threadId": thread, "runId": run, "messages": [{"id": "1", "role": "user", "content": "hi"}], **more}


def asking(here: Here, path: str, body: dict[str, Any]) -> Connection:
    data = httpx2.Request("POST", here.url, json=body).content.decode()
    head = f"Content-Type: application/json\nContent-Length: {len(data)}"
    return Connection(here.port, f"POST {path} HTTP/1.1\nHost: 127.0.0.1:{here.port}\n{head}\n\n{data}")


def rest_of(reading: Connection) -> str:
    return without_retry(reading.read_to_end().partition("\r\n\r\n")[2])


def without_retry(body: str) -> str:
    """Without the line that says when to come back: in a shared log it differs."""
    return re.sub(r"\Aretry: 1\d{3}\n", "", body)


def test_answer_of_use_chat_is_read_again_at_every_worker(pair: Pair) -> None:
    chat, gate = str(uuid4()), Gate()
    pair.upstream.answer("Hel", gate, "lo")
    first = asking(pair.a, "/llm/ui/chat", of_use_chat(chat))
    first.read_until("Hel")
    resumed = [Connection.get(here.port, f"/llm/ui/chat/{chat}/stream") for here in (pair.a, pair.b)]
    again = asking(pair.b, "/llm/ui/chat", of_use_chat(chat))
    for reading in (*resumed, again):
        reading.read_until("Hel")
    gate.open()
    whole = rest_of(first)
    assert '"delta":"lo"' in whole
    assert [rest_of(reading) for reading in (*resumed, again)] == [whole] * 3
    late = pair.b.post("/llm/ui/chat", **of_use_chat(chat))
    assert without_retry(late.text) == whole
    assert pair.b.get(f"/llm/ui/chat/{chat}/stream").status_code == 204
    assert len(pair.upstream.requests) == 1


def test_another_question_of_a_chat_is_another_answer(pair: Pair) -> None:
    chat = str(uuid4())
    pair.upstream.answer("one")
    pair.upstream.answer("two")
    assert "one" in pair.a.post("/llm/ui/chat", **of_use_chat(chat, "1")).text
    assert "two" in pair.b.post("/llm/ui/chat", **of_use_chat(chat, "2")).text
    assert "one" in pair.b.post("/llm/ui/chat", **of_use_chat(chat, "1")).text
    assert len(pair.upstream.requests) == 2


def test_chat_that_is_not_there_has_nothing_to_resume(pair: Pair) -> None:
    for here in (pair.a, pair.b):
        assert here.get(f"/llm/ui/chat/{uuid4()}/stream").status_code == 204
        assert here.request("POST", f"/llm/ui/chat/{uuid4()}/stop").status_code == 204


def test_run_of_ag_ui_is_read_again_at_every_worker(pair: Pair) -> None:
    run, gate = of_ag_ui(str(uuid4()), str(uuid4())), Gate()
    pair.upstream.answer("Hel", gate, "lo")
    first = asking(pair.a, "/llm/agui", run)
    first.read_until("Hel")
    again = asking(pair.b, "/llm/agui", run)
    again.read_until("Hel")
    gate.open()
    whole = rest_of(first)
    assert "RUN_FINISHED" in whole
    assert rest_of(again) == whole == without_retry(pair.b.post("/llm/agui", **run).text)
    assert len(pair.upstream.requests) == 1


@pytest.mark.parametrize("client", ["ui", "agui"])
def test_conversation_is_stopped_at_every_worker(pair: Pair, client: str) -> None:
    conversation = str(uuid4())
    body = of_use_chat(conversation) if client == "ui" else of_ag_ui(conversation, str(uuid4()))
    pair.upstream.answer("Hello", Stall())
    reading = asking(pair.a, "/llm/ui/chat" if client == "ui" else "/llm/agui", body)
    reading.read_until("Hello")
    stop = f"/llm/ui/chat/{conversation}/stop" if client == "ui" else f"/llm/agui/{conversation}/stop"
    assert pair.b.request("POST", stop).status_code == 204
    assert pair.upstream.request(0).left.wait(SOON_S)
    reading.read_to_end()
    assert pair.a.records[-1].status == "cancelled"


def test_answer_that_was_stopped_is_bought_anew_at_any_worker(pair: Pair) -> None:
    chat = str(uuid4())
    pair.upstream.answer("Hello", Stall())
    reading = asking(pair.a, "/llm/ui/chat", of_use_chat(chat))
    reading.read_until("Hello")
    pair.b.request("POST", f"/llm/ui/chat/{chat}/stop")
    reading.read_to_end()
    pair.upstream.answer("Again")
    assert "Again" in pair.b.post("/llm/ui/chat", **of_use_chat(chat)).text
    assert len(pair.upstream.requests) == 2
