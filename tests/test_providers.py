"""Each provider's documented answers, through gunicorn, to a reader and to the record: every ending, byte for byte."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask
from flask import Response
from flask.testing import FlaskClient
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.testing import Cut
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import Event
from .conftest import Server
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .providers.form import WORDS
from .providers.form import Form

NAMES = sorted(path.stem for path in (Path(__file__).parent / "providers").glob("*.py") if path.stem[0] != "_")
NAMES.remove("form")
FORMS: dict[str, dict[str, Form]] = {name: import_module(f"tests.providers.{name}").FORMS for name in NAMES}
CASES = {f"{name}: {ending}": form for name, forms in FORMS.items() for ending, form in forms.items()}
STREAMS = [case for case, form in CASES.items() if form.status == 200]
REFUSALS = [case for case, form in CASES.items() if form.usage == "none"]

STATUS = {"upstream_rejected": 400, "context_too_long": 400, "upstream_throttled": 429}
EVERYWHERE = ("text", "tool call", "length", "error in the stream", "cut", "no finish reason")
"""The endings that each provider must have a form of, beside refusals."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Upstream() as upstream:
        server = Server(upstream, tmp_path_factory.mktemp("server"), retries=0)
        yield server
        server.stop()


def send(upstream: Upstream | None, form: Form, segment: int | None = None) -> None:
    assert upstream is not None
    if form.status != 200:
        upstream.answer(status=form.status, headers=form.headers, body=form.body)
        return
    steps = [form.body, Cut(reset=False)] if form.is_cut else [form.body]
    upstream.answer(*steps, finish_reason=None, usage=False, done=False, headers=form.headers, segment=segment)


def reasoning_of(events: list[Event]) -> str:
    return "".join(data["text"] for _, kind, data in events if kind == "reasoning")


def calls_of(events: list[Event]) -> tuple[tuple[str, str], ...]:
    fragments = [data for _, kind, data in events if kind == "tool_call"]
    names = {each["index"]: each["name"] for each in fragments if "name" in each}
    arguments = {index: "".join(each["arguments"] for each in fragments if each["index"] == index) for index in names}
    return tuple((name, arguments[index]) for index, name in names.items())


def check_what_is_read(form: Form, events: list[Event]) -> None:
    assert text_of(events) == form.text
    assert reasoning_of(events) == form.reasoning
    assert calls_of(events) == form.calls
    fields = [data["fields"] for _, kind, data in events if kind == "opaque" and data.get("fields")]
    assert fields[-1:] == ([form.opaque] if form.opaque else [])
    signed = [data["opaque"] for _, kind, data in events if kind == "tool_call" and "opaque" in data]
    assert signed[:1] == ([form.call_opaque] if form.call_opaque else [])
    assert WORDS not in json.dumps(events)


def check_the_end(form: Form, events: list[Event]) -> None:
    assert kinds_of(events)[-2:] == ["usage", "done"]
    done = of_kind(events, "done")
    assert (done["status"], done.get("finish_reason")) == (form.ending, form.finish_reason)
    failures = [data for _, kind, data in events if kind == "failure"]
    assert [each["code"] for each in failures] == ([form.failure] if form.failure else [])
    assert [each["retryable"] for each in failures] == ([form.retryable] if form.failure else [])


def check_the_record(form: Form, record: dict[str, Any]) -> None:
    assert (record["status"], record["error_code"], record["source"]) == (form.ending, form.failure, form.usage)
    counts = (record["input_tokens"], record["output_tokens"])
    if form.tokens:
        assert counts == tuple(map(str, form.tokens))
    else:
        assert form.usage in ("estimated", "none")
        assert (None in counts) is (form.usage == "none")
    for name, expected in (("cached_tokens", form.cached), ("reasoning_tokens", form.thought)):
        assert expected is None or record[name] == str(expected)
    assert record["request_id"] == form.headers.get("X-Generation-Id")
    if form.cost:
        assert (record["cost"], record["currency"], record["price_source"]) == (form.cost, "USD", "provider")
    else:
        assert record["price_source"] != "provider"


@pytest.mark.parametrize("case", CASES)
def test_reader_and_record_get_what_the_provider_sent(server: Server, case: str) -> None:
    form = CASES[case]
    send(server.upstream, form)
    events = server.events()
    check_what_is_read(form, events)
    check_the_end(form, events)
    check_the_record(form, server.record(of_kind(events, "start")["id"]))
    assert WORDS not in server.log


@pytest.mark.parametrize("case", STREAMS)
def test_where_the_bytes_are_cut_makes_no_difference(server: Server, case: str) -> None:
    form = CASES[case]
    send(server.upstream, form, segment=7)
    events = server.events()
    check_what_is_read(form, events)
    check_the_end(form, events)


@pytest.mark.parametrize("case", REFUSALS)
def test_refusal_is_an_honest_status_to_a_post(server: Server, case: str) -> None:
    form = CASES[case]
    send(server.upstream, form)
    response: httpx2.Response = server.post()
    assert form.failure
    assert response.status_code == STATUS.get(form.failure, 502)
    assert response.json()["error"]["code"] == form.failure
    assert response.headers.get("Retry-After") == form.retry_after
    assert WORDS not in response.text


@pytest.mark.parametrize("name", NAMES)
def test_every_provider_has_every_ending(name: str) -> None:
    assert [ending for ending in EVERYWHERE if ending not in FORMS[name]] == []
    statuses = {form.status for form in FORMS[name].values()}
    assert len(statuses - {200}) >= 3
    assert all(form.source.startswith("https://") for form in FORMS[name].values())


OTHERWISE_BY_THE_SDK = {
    "deepseek: queued until it is closed": "nothing was read, so the SDK cannot tell it from a server that is away",
    "llama_cpp: error in the stream of old versions": "the SDK does not see the line",
    "openrouter: length, and an error that says so": "the SDK raises, and the figures are lost",
}


@pytest.fixture(scope="module")
def by_sdk() -> Iterator[tuple[Upstream, FlaskClient, list[UsageRecord]]]:
    """An app whose view calls the SDK itself."""
    with Upstream() as upstream, OpenAI(base_url=upstream.base_url, api_key="sk-secret", max_retries=0) as client:
        llm, app, records = LLMStream("llm", __name__, client=client), Flask("by_sdk"), list[UsageRecord]()
        app.config |= {"LLM_STREAM_PUBLIC": True, "LLM_STREAM_MODEL": "scripted"}
        llm.on_usage(records.append)
        app.register_blueprint(llm, url_prefix="/llm")

        @app.get("/ask")
        def ask() -> Response:
            messages: Any = [{"role": "user", "content": "hi"}]
            return llm.respond(client.chat.completions.create(model="scripted", messages=messages, stream=True))

        yield upstream, app.test_client(), records
        llm.close()


@pytest.mark.parametrize("case", [case for case in STREAMS if case not in OTHERWISE_BY_THE_SDK])
def test_the_sdks_own_stream_ends_in_the_same_way(
    by_sdk: tuple[Upstream, FlaskClient, list[UsageRecord]], caplog: pytest.LogCaptureFixture, case: str
) -> None:
    form = CASES[case]
    upstream, browser, records = by_sdk
    send(upstream, form)
    events = read_events(browser.get("/ask").data)
    check_what_is_read(form, events)
    check_the_end(form, events)
    record = records[-1]
    assert record.id == of_kind(events, "start")["id"]
    assert record.source == form.usage
    assert not form.tokens or (record.input_tokens, record.output_tokens) == form.tokens
    assert WORDS not in caplog.text
