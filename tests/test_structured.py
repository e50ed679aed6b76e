"""Answers that are asked for with a schema: the JSON so far, the check at the end, and where both are told."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from flask import Response
from flask import current_app
from pydantic import BaseModel
from pydantic import field_validator

from llm_stream import Answer
from llm_stream import Delta
from llm_stream import Done
from llm_stream import Event
from llm_stream import Failure
from llm_stream import LLMStream
from llm_stream import Partial
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from . import conftest
from .calling import call
from .calling import calling
from .calling import fragment
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .here import LOGS
from .here import sharing

MakeApp = Callable[..., Flask]
Serve = Callable[..., Server]


class Item(BaseModel):
    name: str
    price: float = 1.0


class Invoice(BaseModel):
    """What somebody has to pay."""

    number: int
    items: list[Item]


@dataclass
class Place:
    city: str


WRITTEN = '{"number": 12, "items": [{"name": "tea", "price": 2.5}]}'
INVOICE = json.loads(WRITTEN)


def llm_of(app: Flask) -> LLMStream:
    return app.blueprints["llm"]  # type: ignore[return-value]


def pieces(text: str, size: int = 5) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def asking(app: Flask, schema: Any = Invoice, **options: Any) -> None:
    """A view that asks for an answer with a schema."""

    def view() -> Response:
        return llm_of(app).respond(**({"prompt": "hi", "schema": schema} | options))

    app.add_url_rule("/ask", view_func=view, methods=["GET", "POST"])


def read(app: Flask, path: str = "/ask") -> list[conftest.Event]:
    return read_events(app.test_client().get(path).data)


def partials(events: list[conftest.Event]) -> list[dict[str, Any]]:
    return [data for _, kind, data in events if kind == "partial"]


def whole(events: list[conftest.Event]) -> Any:
    """The value of the last partial, which says that it is whole and fits."""
    *before, last = partials(events)
    assert last.pop("whole") and not any("whole" in partial for partial in before)
    return last["value"]


# What is asked for, and what comes


def test_model_is_asked_for_what_the_strict_mode_demands(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    upstream.answer(WRITTEN)
    read(app)
    form = upstream.requests[0].json["response_format"]
    assert (form["type"], form["json_schema"]["name"], form["json_schema"]["strict"]) == (
        "json_schema",
        "Invoice",
        True,
    )
    schema = form["json_schema"]["schema"]
    assert (schema["required"], schema["additionalProperties"]) == (["number", "items"], False)
    item = schema["$defs"]["Item"]
    assert (item["required"], item["additionalProperties"]) == (["name", "price"], False)
    assert "default" not in item["properties"]["price"]


def test_partial_json_comes_while_the_answer_is_written_and_the_whole_before_the_end(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app, gate = make_app(), Gate()
    asking(app)
    upstream.answer('{"number": 12, "items": [{"na', 'me": "te', gate, WRITTEN[37:])
    events = app.test_client().get("/ask")
    seen = b""
    for piece in events.response:
        seen += piece  # type: ignore[operator]
        if b'{"value":{"number":12,"items":[{"name":"te"}]}}' in seen:
            gate.open()
    assert kinds_of(read_events(seen))[-4:] == ["delta", "partial", "usage", "done"]
    assert whole(read_events(seen)) == INVOICE
    assert of_kind(read_events(seen), "done") == {"status": "completed", "finish_reason": "stop"}


def test_partials_stay_in_proportion_to_the_answer(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app, list[Item])
    value = [{"name": f"item {number}", "price": number} for number in range(300)]
    written = json.dumps({"value": value})
    upstream.answer(*pieces(written, 3))
    events = read(app)
    assert whole(events) == value
    assert len(partials(events)) > 5  # how many depends on how much comes at once
    assert sum(len(json.dumps(partial)) for partial in partials(events)) < 10 * len(written)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        (list[Item], [{"name": "tea", "price": 1}]),
        (int, 7),
        (Item | Place, {"city": "Pune"}),
        (int | None, None),
    ],
    ids=str,
)
def test_type_that_is_no_object_is_asked_for_in_one(
    make_app: MakeApp, upstream: Upstream, schema: Any, value: Any
) -> None:
    app = make_app()
    asking(app, schema)
    upstream.answer(*pieces(json.dumps({"value": value})))
    assert whole(read(app)) == value
    assert upstream.requests[0].json["response_format"]["json_schema"]["schema"]["required"] == ["value"]


def test_dataclass_needs_no_wrapping(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app, Place)
    upstream.answer('{"city": "Pune"}')
    assert whole(read(app)) == {"city": "Pune"}
    form = upstream.requests[0].json["response_format"]["json_schema"]
    assert (form["name"], form["schema"]["required"]) == ("Place", ["city"])


def test_answer_as_json_has_the_value(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    client = app.test_client()
    upstream.answer(*pieces(WRITTEN))
    answer = client.post("/ask", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["parsed"], answer.json["text"]) == (200, INVOICE, WRITTEN)
    snapshot = client.get(f"/llm/streams/{answer.json['id']}", headers={"Accept": "application/json"})
    assert snapshot.json["parsed"] == INVOICE


def test_hook_gets_the_value(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    kept: list[Answer] = []
    llm_of(app).on_answer(kept.append)
    upstream.answer(WRITTEN)
    read(app)
    assert kept[0].parsed == INVOICE
    assert Invoice.model_validate(kept[0].parsed).items[0].price == 2.5


def test_answer_without_a_schema_has_no_partials(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app, None)
    upstream.answer(WRITTEN)
    events = read(app)
    assert not partials(events)
    assert "response_format" not in upstream.requests[0].json
    upstream.answer(WRITTEN)
    answer = app.test_client().post("/llm/chat", json={"prompt": "x"}, headers={"Accept": "application/json"})
    assert "parsed" not in answer.text


@pytest.mark.parametrize("format", ["text", "html"])
def test_wires_of_text_show_no_partials(make_app: MakeApp, upstream: Upstream, format: str) -> None:
    app = make_app()
    asking(app)
    upstream.answer('{"number": 12, "items"', ": []}")
    shown = app.test_client().get(f"/ask?format={format}").text
    assert shown.count("items") == 1 and "partial" not in shown


@pytest.mark.parametrize("log", LOGS)
def test_another_worker_has_the_partials_and_the_value(log: str) -> None:
    with sharing(log) as pair:
        for here in {pair.a, pair.b}:
            asking(here.app)
        pair.upstream.answer(*pieces(WRITTEN))
        events = pair.a.events("/ask")
        stream_id = events[0][2]["id"]
        assert pair.b.events(f"/llm/streams/{stream_id}") == events
        answer = pair.b.get(f"/llm/streams/{stream_id}", Accept="application/json").json()
        assert answer["parsed"] == INVOICE == whole(events)


@pytest.mark.parametrize("fast_path", [True, False])
def test_gunicorn_with_a_validator_that_waits(upstream: Upstream, serve: Serve, fast_path: bool) -> None:
    server = serve(upstream, fast_path=fast_path)
    for text, status in (('{"city": "Pune", "people": 7}', "completed"), ('{"city": "Pune"}', "failed")):
        upstream.answer(*[step for piece in pieces(text, 2) for step in (piece, Pause(0.005))])
        events = server.events("/place")
        assert of_kind(events, "done")["status"] == status
        values = [partial["value"] for partial in partials(events)]
        assert len(values) > 1 and values[-1] == json.loads(text)
        assert server.record(events[0][2]["id"])["status"] == status
    eventually(server.at_rest)


# The ends


@pytest.mark.parametrize(
    "text",
    [
        '{"number": "many", "items": []}',
        '{"number": 1}',
        "I would rather not.",
        "",
        f"{WRITTEN} Anything else?",
        "[NaN]",
    ],
)
def test_answer_that_does_not_fit_fails(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture, text: str
) -> None:
    app = make_app()
    asking(app)
    upstream.answer(*pieces(text), usage={"prompt_tokens": 5, "completion_tokens": 7})
    with caplog.at_level(logging.WARNING, "llm_stream"):
        events = read(app)
    failure = of_kind(events, "failure")
    assert (failure["code"], failure["retryable"]) == ("invalid_output", True)
    assert of_kind(events, "done")["status"] == "failed"
    assert of_kind(events, "usage")["output_tokens"] == 7
    assert not any("whole" in partial for partial in partials(events))
    (record,) = app.extensions["records"]
    assert (record.status, record.error_code, record.source) == ("failed", "invalid_output", "provider")
    assert failure["error_id"] in caplog.text and "WrongForm" in caplog.text
    assert "many" not in caplog.text and "rather" not in caplog.text


def test_answer_as_json_that_does_not_fit_is_a_bad_gateway(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    upstream.answer('{"number": 1}')
    answer = app.test_client().post("/ask", headers={"Accept": "application/json"})
    assert answer.status_code == 502
    assert (answer.json["error"]["code"], answer.json["text"]) == ("invalid_output", '{"number": 1}')
    assert "parsed" not in answer.text


def test_answer_that_is_cut_off_by_its_length_does_not_fail(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    upstream.answer(*pieces(WRITTEN[:-10]), finish_reason="length")
    events = read(app)
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "length"}
    assert partials(events)[-1] == {"value": {"number": 12, "items": [{"name": "tea"}]}}


def test_answer_that_breaks_off_fails_as_it_does_without_a_schema(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(retries=0)
    asking(app)
    upstream.answer(WRITTEN, Cut())
    events = read(app)
    assert of_kind(events, "failure")["code"] == "upstream_cut"
    assert partials(events)[-1] == {"value": INVOICE}


def test_refusal_is_not_checked(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    asking(app)
    upstream.answer(fragment({"refusal": "I will not."}))
    events = read(app)
    assert not partials(events)
    assert of_kind(events, "done")["status"] == "completed"


def test_reset_makes_the_partials_void(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(retry_after_content=True)
    asking(app)
    upstream.answer(*pieces('{"number": 99, "items": [{"name": "cof'), Cut())
    upstream.answer(*pieces(WRITTEN))
    events = read(app)
    assert "reset" in [kind for _, kind, _ in events]
    assert whole(events) == INVOICE


def test_validator_of_the_app_has_an_app_context_and_what_it_raises_fails_the_stream(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()
    seen: list[str] = []

    class Known(BaseModel):
        number: int

        @field_validator("number")
        @classmethod
        def check(cls, number: int) -> int:
            seen.append(current_app.name)
            if number < 0:
                raise KeyError(number)
            if number == 0:
                raise ValueError("0 is no number of ours")
            return number

    asking(app, Known)
    for number, code in ((1, None), (0, "invalid_output"), (-1, "internal")):
        upstream.answer(json.dumps({"number": number}))
        codes = [data["code"] for _, kind, data in read(app) if kind == "failure"]
        assert codes == ([code] if code else [])
    assert seen == ["served_here"] * 3


# With tools, transforms and parts


def test_only_the_text_of_the_last_step_counts(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def number() -> int:
        return 12

    asking(app)
    calling(upstream, call("number"), text='{"number": 0}')
    upstream.answer(*pieces(WRITTEN))
    events = read(app)
    assert whole(events) == INVOICE
    assert [request.json["response_format"]["type"] for request in upstream.requests] == ["json_schema"] * 2


def test_answer_that_ends_with_a_call_for_the_reader_is_not_checked(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    ask_user = {"type": "function", "function": {"name": "ask_user", "parameters": {"type": "object"}}}
    asking(app, tools=[ask_user])
    calling(upstream, call("ask_user"))
    events = read(app)
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "tool_calls"}


def test_what_a_transform_takes_out_is_in_no_partial(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).transform
    def redacted(events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield Delta(event.text.replace("tea", "***")) if isinstance(event, Delta) else event

    asking(app)
    upstream.answer('{"number": 12, "items": [', '{"name": "tea"', "}]}")
    body = app.test_client().get("/ask").text
    assert "tea" not in body
    assert whole(read_events(body.encode())) == {"number": 12, "items": [{"name": "***"}]}


def test_answer_that_a_transform_cuts_off_is_not_checked(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).transform
    def first_only(events: Iterator[Event]) -> Iterator[Event]:
        yield next(events)

    asking(app)
    upstream.answer('{"number": 12, ', Gate())
    events = read(app)
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "content_filter"}
    assert partials(events) == [{"value": {"number": 12}}]


def test_part_of_a_generator_is_checked_and_its_generator_may_cope(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    got: list[Any] = []

    def twice() -> Iterator[Any]:
        failed = False
        for event in llm_of(app).events(prompt="a", schema=Invoice):
            failed = failed or isinstance(event, Failure)
        got.append(failed)
        for event in llm_of(app).events(prompt="b", schema=Place):
            if isinstance(event, Partial) and event.whole:
                got.append(event.value)
            if not isinstance(event, Delta):
                yield event

    app.add_url_rule("/twice", view_func=lambda: llm_of(app).respond(twice()))
    upstream.answer('{"number": 1}')
    upstream.answer('{"city": "Pune"}')
    events = read(app, "/twice")
    assert got == [True, {"city": "Pune"}]
    assert whole(events) == {"city": "Pune"}
    assert of_kind(events, "done")["status"] == "completed"
    assert len(app.extensions["records"]) == 1


def test_events_without_http(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer(*pieces(WRITTEN))
    with app.app_context():
        events = list(llm_of(app).events(prompt="hi", schema=Invoice))
    assert [event for event in events if isinstance(event, Partial)][-1] == Partial(INVOICE, whole=True)
    assert events[-1] == Done("completed", "stop")


# What the app's own code may pass


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"schema": {"type": "object"}}, "response_format="),
        ({"schema": object()}, "JSON"),
        ({"schema": Invoice, "response_format": {"type": "json_object"}}, "either"),
    ],
    ids=["a JSON schema", "no type", "both"],
)
def test_schema_that_is_none_is_a_type_error(make_app: MakeApp, options: Any, says: str) -> None:
    app = make_app()
    with app.app_context(), pytest.raises(TypeError, match=says):
        llm_of(app).events(prompt="hi", **options)


def test_generator_of_the_app_has_no_schema_of_its_own(make_app: MakeApp) -> None:
    app = make_app()
    with app.app_context(), pytest.raises(TypeError, match=r"llm.events\(schema=…\)"):
        llm_of(app).events(["hi"], schema=Invoice)
