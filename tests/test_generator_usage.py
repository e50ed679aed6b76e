"""What a generator given to `respond()` has used, and when it is closed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import Response

from llm_stream import Delta
from llm_stream import Reasoning
from llm_stream import Refusal
from llm_stream import ToolCall
from llm_stream import Usage
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import eventually
from .keeping import ask
from .keeping import llm_of

MakeApp = Callable[..., Flask]

PRICES = {"my-agent": {"input": "14", "output": "58", "currency": "INR"}}
TEXT = "The quick brown fox jumps over the lazy dog."


def answering(app: Flask, make: Callable[[], Any], **options: Any) -> None:
    def view() -> Response:
        return llm_of(app).respond(make(), **options)

    app.add_url_rule("/view", view_func=view, methods=["GET", "POST"])


@pytest.mark.parametrize(
    "item", [TEXT, Delta(TEXT), Reasoning(TEXT), Refusal(TEXT), ToolCall(0, TEXT, "c", "")], ids=lambda item: type(item)
)
def test_output_without_figures_is_estimated(make_app: MakeApp, item: Any) -> None:
    app = make_app(prices=PRICES)
    answering(app, lambda: [item], model="my-agent")
    ask(app, "/view")
    (record,) = app.extensions["records"]
    assert (record.model, record.source, record.output_tokens) == ("my-agent", "estimated", 10)
    assert (record.input_tokens, record.cost) == (None, None), "only the generator knows what it has sent"


def test_generator_that_says_nothing_has_unknown_figures(make_app: MakeApp) -> None:
    app = make_app()
    answering(app, list, model="my-agent")
    ask(app, "/view")
    (record,) = app.extensions["records"]
    assert (record.source, record.output_tokens) == ("unknown", None)


def test_usage_that_it_yields_is_recorded_under_its_model(make_app: MakeApp) -> None:
    app = make_app(prices=PRICES)
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000, cached_tokens=3)
    answering(app, lambda: [TEXT, usage], model="my-agent")
    ask(app, "/view")
    (record,) = app.extensions["records"]
    assert (record.source, record.input_tokens, record.cached_tokens, record.cost) == ("provider", 1_000_000, 3, 72)


def test_generator_whose_readers_have_gone_is_closed_at_its_next_yield(make_app: MakeApp) -> None:
    app = make_app(disconnect_grace_s=0.1)
    gate = Gate()
    order: list[str] = []

    def words() -> Iterator[str]:
        try:
            yield "one"
            gate.opened.wait(PATIENCE_S)
            yield "two"
            order.append("went on")
        finally:
            order.append("finally")

    answering(app, words)
    answer = app.test_client().get("/view", buffered=False)
    pieces = iter(answer.response)
    while b"one" not in next(pieces):
        pass
    answer.close()
    eventually(lambda: app.extensions["records"])
    gate.open()
    eventually(lambda: order)
    assert order == ["finally"]
    assert app.extensions["records"][0].status == "abandoned"


class Source:
    """Counts how often it is closed; nobody may read it."""

    def __init__(self) -> None:
        self.closed = 0

    def __iter__(self) -> Iterator[str]:
        raise AssertionError("it is not read")

    def close(self) -> None:
        self.closed += 1


def test_generator_whose_stream_is_refused_is_closed_unread(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(max_streams_per_owner=1)
    made: list[Source] = []

    def make() -> Source:
        made.append(Source())
        return made[-1]

    answering(app, make, key="k")
    gate = Gate()
    upstream.answer("Hello", gate)
    running = app.test_client().get("/llm/chat?prompt=hi", buffered=False)
    assert gate.reached.wait(PATIENCE_S)
    refused = app.test_client().get("/view")
    assert refused.status_code == 429
    assert app.test_client().head("/view").status_code == 200
    assert app.test_client().get("/view", headers={"Last-Event-ID": "8a8b35a6a342e491b341-1"}).status_code == 204
    assert app.test_client().get("/view?format=none").status_code == 422
    assert [source.closed for source in made] == [1, 1, 1, 1]
    gate.open()
    running.get_data()
    running.close()


def test_generator_of_a_request_that_attaches_is_closed_unread(make_app: MakeApp) -> None:
    app = make_app()
    source = Source()
    sources: list[Any] = [iter(["Hello"]), source]
    answering(app, lambda: sources.pop(0), key="k")
    assert ask(app, "/view") == ask(app, "/view")
    assert source.closed == 1
    assert len(app.extensions["records"]) == 1
