"""When, where and with what `@llm.on_answer` is called."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import current_app
from flask import g
from openai import OpenAI

from llm_stream import Answer
from llm_stream import Delta
from llm_stream import LLMStream
from llm_stream import stream_settled
from llm_stream import stream_started
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import of_kind
from .here import MEMORY
from .here import sharing
from .keeping import METADATA
from .keeping import ask
from .keeping import asking
from .keeping import kept_by
from .keeping import llm_of

MakeApp = Callable[..., Flask]


def test_order_in_which_the_app_is_told(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    told: list[str] = []
    llm_of(app).on_answer(lambda answer: told.append("on_answer"))
    llm_of(app).on_usage(lambda record: told.append("on_usage"))
    upstream.answer("Hello")
    with (
        stream_started.connected_to(lambda _, **stream: told.append("stream_started"), app),
        stream_settled.connected_to(lambda _, record: told.append("stream_settled"), app),
    ):
        ask(app, "/llm/chat?prompt=hi")
    assert told == ["stream_started", "on_usage", "on_answer", "stream_settled"]


def test_started_comes_before_the_hooks_of_a_stream_that_ends_at_once(make_app: MakeApp) -> None:
    app = make_app()
    told: list[str] = []
    app.add_url_rule("/view", view_func=lambda: llm_of(app).respond([]))
    llm_of(app).on_answer(lambda answer: told.append("on_answer"))

    def started(_: Flask, **stream: Any) -> None:
        threading.Event().wait(0.05)  # a slow receiver is waited for
        told.append("stream_started")

    with stream_started.connected_to(started, app):
        ask(app, "/view")
    assert told == ["stream_started", "on_answer"]


def test_done_is_sent_after_the_hook_has_returned() -> None:
    called, gate = threading.Event(), threading.Event()

    def keep(answer: Answer) -> None:
        called.set()
        assert gate.wait(PATIENCE_S)

    with sharing(MEMORY) as pair:
        pair.a.llm.on_answer(keep)
        _, url = pair.start("Hello")
        reader = Connection.get(pair.a.port, url)
        reader.read_until("Hello")
        assert called.wait(PATIENCE_S)
        assert pair.a.get(url, Accept="application/json").json()["status"] == "running"
        assert b"event: done" not in reader.received
        gate.set()
        assert "event: done" in reader.read_to_end()


def test_hook_runs_in_an_app_context_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    seen: list[Any] = []

    @app.before_request
    def before() -> None:
        g.of_the_request = True

    @llm_of(app).on_answer
    def keep(answer: Answer) -> None:
        seen.append((current_app.name, "of_the_request" in g))

    upstream.answer("Hello")
    ask(app, "/llm/chat?prompt=hi")
    assert seen == [("served_here", False)]


@pytest.mark.parametrize("error", [RuntimeError("broken"), SystemExit(1)])
def test_what_it_raises_is_logged_and_harms_nothing(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture, error: BaseException
) -> None:
    app = make_app()

    @llm_of(app).on_answer
    def broken(answer: Answer) -> None:
        raise error

    answers = kept_by(app)
    upstream.answer("Hello")
    events = ask(app, "/llm/chat?prompt=hi")
    assert of_kind(events, "done")["status"] == "completed"
    assert [answer.text for answer in answers] == ["Hello"], "the next hook is called"
    assert "the hook" in caplog.text and "broken" in caplog.text


def test_each_hook_gets_an_answer_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).on_answer
    def greedy(answer: Answer) -> None:
        answer.messages.clear()
        answer.metadata["mine"] = True

    answers = kept_by(app)
    asking(app)
    upstream.answer("Hello")
    stream_id = of_kind(ask(app), "start")["id"]
    assert answers[0].messages == [{"role": "assistant", "content": "Hello"}]
    assert answers[0].metadata == METADATA
    with app.app_context():
        assert llm_of(app).stream(stream_id).metadata == METADATA


def test_hook_may_ask_a_model_which_is_a_stream_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    titles: list[str] = []

    @llm_of(app).on_answer
    def title(answer: Answer) -> None:
        if answer.owner != "titles":
            found = llm_of(app).events(prompt="a title", owner="titles", metadata={"of": answer.id})
            titles.extend(event.text for event in found if isinstance(event, Delta))

    answers = kept_by(app)
    upstream.answer("Hello")
    upstream.answer("Greetings")
    stream_id = of_kind(ask(app, "/llm/chat?prompt=hi"), "start")["id"]
    assert titles == ["Greetings"]
    assert [(answer.text, answer.metadata) for answer in answers] == [("Greetings", {"of": stream_id}), ("Hello", {})]


def test_part_of_a_generator_has_no_answer_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    answers = kept_by(app)
    for text in ("one ", "two"):
        upstream.answer(text)

    def agent() -> Iterator[Any]:
        for _ in range(2):
            yield from llm_of(app).events(prompt="hi", metadata={"inner": True})

    app.add_url_rule("/view", view_func=lambda: llm_of(app).respond(agent(), metadata=METADATA))
    ask(app, "/view")
    assert [(answer.text, answer.metadata) for answer in answers] == [("one two", METADATA)]


def test_two_blueprints_get_their_own_answers(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    others: list[Answer] = []
    client = OpenAI(base_url=upstream.base_url, api_key="sk-secret")
    other = LLMStream("other", __name__, model="other", client=client)
    other.on_answer(others.append)
    app.register_blueprint(other, url_prefix="/other")
    answers = kept_by(app)
    upstream.answer("one")
    upstream.answer("two")
    for path in ("/llm/chat?prompt=hi", "/other/chat?prompt=hi"):
        read_events(app.test_client().get(path).data)
    assert [answer.text for answer in answers] == ["one"]
    assert [answer.text for answer in others] == ["two"]
    other.close()
