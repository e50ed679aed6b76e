"""`response_format` on every route that has it, and in the app's own code: what is taken, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient

from llm_stream import LLMStream
from llm_stream.errors import InvalidField
from llm_stream.requests.response_format import MAX_NESTING
from llm_stream.requests.response_format import MAX_SCHEMA_BYTES
from llm_stream.testing import Upstream
from llm_stream.usage.estimate import most_input_tokens

MakeApp = Callable[..., Flask]

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
FORM: dict[str, Any] = {"type": "json_schema", "json_schema": {"name": "city", "schema": SCHEMA, "strict": True}}
HI = [{"role": "user", "content": "hi"}]
UI_HI = [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]


def native(form: Any) -> tuple[str, dict[str, Any]]:
    return "/llm/chat", {"prompt": "hi", "response_format": form}


def started(form: Any) -> tuple[str, dict[str, Any]]:
    return "/llm/streams", {"prompt": "hi", "response_format": form}


def openai(form: Any) -> tuple[str, dict[str, Any]]:
    return "/llm/v1/chat/completions", {"messages": HI, "response_format": form}


def ui(form: Any) -> tuple[str, dict[str, Any]]:
    return "/llm/ui/chat", {"id": "c", "messages": UI_HI, "response_format": form}


def agui(form: Any) -> tuple[str, dict[str, Any]]:
    messages = [{"id": "m", "role": "user", "content": "hi"}]
    run = {"threadId": "t", "runId": "r", "messages": messages, "tools": [], "context": [], "state": {}}
    return "/llm/agui", run | {"forwardedProps": {"response_format": form}}


ROUTES = (native, started, openai, ui, agui)
Route = Callable[[Any], tuple[str, dict[str, Any]]]


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(levels - 1):
        schema = {"items": schema}
    return schema


def named(**fields: Any) -> dict[str, Any]:
    return {"type": "json_schema", "json_schema": fields}


BAD: list[tuple[Any, str]] = [
    ("json_object", "response_format"),
    ({}, "response_format"),
    ({"type": "yaml"}, "response_format"),
    ({"type": "json_object", "schema": SCHEMA}, "response_format"),
    ({"type": "json_schema"}, "response_format"),
    ({"type": "json_schema", "json_schema": "city"}, "response_format.json_schema"),
    (named(schema=SCHEMA), "response_format.json_schema"),
    (named(name="my city", schema=SCHEMA), "response_format.json_schema.name"),
    (named(name="c" * 65, schema=SCHEMA), "response_format.json_schema.name"),
    (named(name="city\n", schema=SCHEMA), "response_format.json_schema.name"),
    (named(name="city", schema="string"), "response_format.json_schema.schema"),
    (named(name="city", schema=SCHEMA, strict="yes"), "response_format.json_schema.strict"),
    (named(name="city", schema=SCHEMA, title="City"), "response_format.json_schema"),
    (named(name="city", schema={"enum": ["x" * MAX_SCHEMA_BYTES]}), f"the limit is {MAX_SCHEMA_BYTES}"),
    (named(name="city", schema=nested(MAX_NESTING + 1)), f"the limit is {MAX_NESTING}"),
]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app().test_client()


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", [FORM, {"type": "json_object"}, named(name="c"), named(name="c", schema=nested(64))])
def test_model_is_asked_for_the_form(client: FlaskClient, upstream: Upstream, route: Route, form: Any) -> None:
    upstream.answer("{}")
    path, body = route(form)
    answer = client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    if route is started:
        client.get(answer.json["url"]).get_data()
    assert upstream.requests[0].json["response_format"] == form


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", [None, {"type": "text"}])
def test_text_is_what_a_model_writes_unasked(client: FlaskClient, upstream: Upstream, route: Route, form: Any) -> None:
    upstream.answer("Hello")
    path, body = route(form)
    answer = client.post(path, json=body)
    if route is started:
        client.get(answer.json["url"]).get_data()
    assert "response_format" not in upstream.requests[0].json


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(("form", "names"), BAD, ids=lambda value: str(value)[:60])
def test_what_is_wrong_is_named(client: FlaskClient, upstream: Upstream, route: Route, form: Any, names: str) -> None:
    path, body = route(form)
    answer = client.post(path, json=body)
    assert answer.status_code == (400 if route is openai else 422)
    assert names in answer.text
    assert route is not openai or answer.json["error"]["param"].startswith("response_format")
    assert not upstream.requests


def test_app_may_ask_for_a_form_too(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]

    def view() -> Response:
        return llm.respond(prompt="hi", response_format=FORM)

    app.add_url_rule("/ask", view_func=view)
    upstream.answer('{"city":')
    upstream.answer("{}")
    assert '"status":"completed"' in app.test_client().get("/ask").text  # the app has given no schema to check it with
    with app.app_context():
        list(llm.events(prompt="hi", response_format=FORM))
        with pytest.raises(InvalidField, match="response_format"):
            llm.events(prompt="hi", response_format={"type": "yaml"})
    assert [request.json["response_format"] for request in upstream.requests] == [FORM, FORM]


def test_schema_counts_as_input_where_the_worst_case_is_reserved() -> None:
    description = " ".join(["word"] * 500)
    form = named(name="city", schema=SCHEMA | {"description": description})
    assert most_input_tokens(HI, options={"response_format": form}) > most_input_tokens(HI) + 500


def test_form_is_part_of_what_a_key_stands_for(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("{}")
    client.post("/llm/chat", json={"prompt": "hi", "key": "k", "response_format": FORM}).get_data()
    answer = client.post("/llm/chat", json={"prompt": "hi", "key": "k"})
    assert answer.status_code == 409
    assert json.loads(answer.data)["error"]["code"] == "key_conflict"
