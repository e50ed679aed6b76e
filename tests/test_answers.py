"""`@llm.on_answer`: the app gets each answer once, however its stream ended, with all that belongs to it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from llm_stream import Data
from llm_stream import Delta
from llm_stream import File
from llm_stream import Refusal
from llm_stream import Source
from llm_stream import stream_settled
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .calling import call
from .calling import calling
from .calling import fragment
from .conftest import PATIENCE_S
from .conftest import eventually
from .conftest import of_kind
from .keeping import METADATA
from .keeping import ask
from .keeping import asking
from .keeping import kept_by
from .keeping import llm_of

MakeApp = Callable[..., Flask]

PRICES = {"scripted": {"input": "14", "output": "58", "currency": "INR"}}


def test_answer_is_whole(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices=PRICES)
    asking(app)
    answers = kept_by(app)
    figures = {"prompt_tokens": 10, "completion_tokens": 2}
    upstream.answer(fragment({"reasoning_content": "Hm."}), "Hello", usage=figures)
    stream_id = of_kind(ask(app, "/ask?key=k"), "start")["id"]
    (answer,) = answers
    assert (answer.id, answer.owner, answer.key, answer.model) == (stream_id, "127.0.0.1", "k", "scripted")
    assert (answer.text, answer.reasoning, answer.refusal) == ("Hello", "Hm.", "")
    assert (answer.status, answer.finish_reason, answer.error) == ("completed", "stop", None)
    assert answer.metadata == METADATA
    assert answer.usage and answer.usage["output_tokens"] == 2
    (record,) = app.extensions["records"]
    assert answer.record == record
    assert record.cost == (10 * Decimal(14) + 2 * Decimal(58)) / 1_000_000


def test_answer_has_calls_and_results_sources_files_and_data(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    answers = kept_by(app)

    @llm_of(app).tool
    def look(place: str) -> Any:
        """Look at a place."""
        yield Source("https://example.com/", "Example")
        yield File("https://example.com/a.png", "image/png")
        yield Data("progress", 1, id="p")
        yield Data("progress", 2, id="p")
        yield Data("news", "of the moment", transient=True)
        return {"seen": place}

    calling(upstream, call("look", place="here"), text="I look. ")
    upstream.answer("Nice.")
    ask(app, "/llm/chat?prompt=hi")
    (answer,) = answers
    assert answer.text == "I look. Nice."
    assert answer.tool_calls == [{
        "id": "call_look", "name": "look", "arguments": '{"place": "here"}', "server": True, "result": {"seen": "here"},
    }]  # fmt: skip
    assert answer.sources == [{"url": "https://example.com/", "title": "Example"}]
    assert answer.files == [{"url": "https://example.com/a.png", "media_type": "image/png"}]
    assert answer.data == [{"name": "progress", "data": 2, "id": "p"}]


def test_refusal_is_part_of_the_answer(make_app: MakeApp) -> None:
    app = make_app()
    answers = kept_by(app)
    app.add_url_rule("/view", view_func=lambda: llm_of(app).respond([Refusal("I may not.")]))
    ask(app, "/view")
    assert (answers[0].text, answers[0].refusal) == ("", "I may not.")


def ends(app: Flask, upstream: Upstream, how: str) -> None:
    """Let the stream of `/ask` end in this way."""
    steps: dict[str, tuple[Any, ...]] = {
        "completed": ("Hello",),
        "incomplete": ("Hello",),
        "failed": ("Hello", Cut()),
        "timed_out": ("Hello", Stall()),
        "cancelled": ("Hello", Stall()),
        "abandoned": ("Hello", Stall()),
    }
    upstream.answer(*steps[how], finish_reason="length" if how == "incomplete" else "stop")
    answer = app.test_client().get("/ask", buffered=False)
    if how in ("cancelled", "abandoned"):
        pieces = iter(answer.response)
        while b"Hello" not in next(pieces):
            pass
        if how == "cancelled":
            app.test_client().delete(f"/llm/streams/{answer.headers['x-llm-stream-id']}")
            list(pieces)
    else:
        answer.get_data()
    answer.close()


@pytest.mark.parametrize("how", ["completed", "incomplete", "failed", "timed_out", "cancelled", "abandoned"])
def test_hook_is_called_once_however_the_stream_ends(make_app: MakeApp, upstream: Upstream, how: str) -> None:
    app = make_app(idle_s=0.5, disconnect_grace_s=0.1)
    asking(app)
    answers = kept_by(app)
    settled = threading.Event()
    with stream_settled.connected_to(lambda _, record: settled.set(), app):
        ends(app, upstream, how)
        assert settled.wait(PATIENCE_S)
    (answer,) = answers
    assert (answer.status, answer.text, answer.metadata) == (how, "Hello", METADATA)
    assert answer.record and answer.record.status == how
    assert (answer.error is not None) == (how in ("failed", "timed_out"))
    assert answer.messages == [{"role": "assistant", "content": "Hello"}]


def test_stream_that_says_nothing_has_an_answer_without_messages(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(retries=0)
    answers = kept_by(app)
    upstream.answer(status=500)
    ask(app, "/llm/chat?prompt=hi")
    (answer,) = answers
    assert (answer.status, answer.text, answer.messages) == ("failed", "", [])
    assert answer.error and answer.error["code"] == "upstream_failed"


def test_answer_whose_generator_cannot_be_interrupted_is_handed_over_all_the_same(make_app: MakeApp) -> None:
    app = make_app()
    gate = Gate()
    answers = kept_by(app)

    def blocks() -> Iterator[str]:
        yield "Hello"
        gate.opened.wait(PATIENCE_S)
        yield " and more, which is too late"

    with app.app_context():
        events = llm_of(app).events(blocks())
        stream_id = next(event for event in events if not isinstance(event, Delta)).id  # type: ignore[attr-defined]
        next(events)
        llm_of(app).stream(stream_id).stop()
        eventually(lambda: answers, "the answer")
        gate.open()
        list(events)
    assert [(answer.status, answer.text) for answer in answers] == [("cancelled", "Hello")]


def test_refused_request_has_no_answer(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(max_streams_per_owner=1)
    answers = kept_by(app)
    gate = Gate()
    upstream.answer("Hello", gate)
    running = app.test_client().get("/llm/chat?prompt=hi", buffered=False)
    assert gate.reached.wait(PATIENCE_S)
    assert app.test_client().post("/llm/chat", json={"prompt": "hi"}).status_code == 429
    gate.open()
    running.get_data()
    assert len(answers) == 1
