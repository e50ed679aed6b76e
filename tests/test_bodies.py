"""What providers send under the status 200, through the routes: answers in any frame are delivered, refusals are none.

Each by our own transport, under real gunicorn with gevent, and by an `http_client` of the user's own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx
import httpx2
import pytest
from flask import Flask
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.testing import Cut
from llm_stream.testing import Step
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .conftest import of_kind
from .conftest import text_of

USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
COMPLETION = {
    "id": "chatcmpl-whole",
    "object": "chat.completion",
    "created": 1,
    "model": "whole-1",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello world"}, "finish_reason": "stop"}],
    "usage": USAGE,
}
WHOLE = json.dumps(COMPLETION).encode()
PRETTY = json.dumps(COMPLETION, indent=2).replace("{\n", "{\n\n").encode()
JSON = {"Content-Type": "application/json"}
GZIPPED = JSON | {"Content-Encoding": "gzip"}


def chunk(finish: str | None = None, usage: Any = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage}


def lines(*values: Any) -> bytes:
    return b"".join(json.dumps(value).encode() + b"\n" for value in values)


CHUNKS = [chunk(role="assistant", content=""), chunk(content="Hello"), chunk(content=" world"), chunk("stop", USAGE)]
EVENTS = b"".join(b"data: " + line + b"\n\n" for line in lines(*CHUNKS).splitlines())
REPEATED = chunk("stop", USAGE)["choices"][0] | {"message": {"role": "assistant", "content": "Hello world"}}

Given = tuple[tuple[Step, ...], dict[str, Any]]
"""What the scripted upstream is told."""


def body(content: bytes, label: str | None = "application/json") -> Given:
    return (), {"body": content, "headers": {"Content-Type": label} if label else {}}


def pieces(*steps: Step, segment: int | None = None, headers: Any = None) -> Given:
    return steps, {"headers": headers or {}, "segment": segment, "finish_reason": None, "done": False}


ANSWERS: dict[str, Given] = {
    "JSON": body(WHOLE),
    "JSON under another label": body(WHOLE, "Application/JSON; charset=utf-8"),
    "JSON as text": body(WHOLE, "text/plain"),
    "JSON as an event stream": body(WHOLE, "text/event-stream"),
    "JSON over many lines": body(PRETTY),
    "JSON over many lines, as an event stream": body(PRETTY + b"\n", "text/event-stream; charset=utf-8"),
    "JSON byte by byte": pieces(b"\n\n" + PRETTY, segment=1),
    "JSON after keep-alives": pieces(b": OPENROUTER PROCESSING\n\n", b"\n\n", WHOLE, segment=3),
    "JSON with a byte order mark": body(b"\xef\xbb\xbf" + WHOLE),
    "JSON, compressed": ((), {"body": gzip.compress(PRETTY), "headers": GZIPPED}),
    "JSON, compressed, byte by byte": pieces(gzip.compress(WHOLE), segment=1, headers=GZIPPED),
    "JSON and [DONE]": body(WHOLE + b"\n\ndata: [DONE]\n\n", "text/event-stream"),
    "JSON and a connection that breaks": pieces(WHOLE, Cut(reset=False)),
    "JSON lines": pieces(lines(*CHUNKS), headers={"Content-Type": "application/x-ndjson"}),
    "JSON lines byte by byte": pieces(lines(*CHUNKS), segment=1),
    "event stream": pieces(EVENTS),
    "event stream as JSON": pieces(EVENTS, headers=JSON),
    "event stream as JSON, byte by byte": pieces(b"\n: hi\n\n" + EVENTS, segment=1, headers=JSON),
    "event stream as JSON, in one piece": body(EVENTS + b"data: [DONE]\n\n"),
    "event stream, compressed": pieces(gzip.compress(EVENTS), headers={"Content-Encoding": "gzip"}),
    "whole answer in one event": pieces(b"data: " + WHOLE + b"\n\ndata: [DONE]\n\n"),
    "event stream whose last chunk has the message": pieces(*CHUNKS[:-1], CHUNKS[-1] | {"choices": [REPEATED]}),
    "event stream with a whole answer behind it": pieces(EVENTS, COMPLETION | {"id": "chatcmpl-1"}),
}

THROTTLED = {"error": {"message": "PROVIDER WORDS", "type": "tokens", "code": "rate_limit_exceeded"}}
TOO_LONG = {"error": {"message": "PROVIDER WORDS", "type": "invalid_request_error", "code": "context_length_exceeded"}}
PROBLEM = {"type": "about:blank", "title": "PROVIDER WORDS", "status": 402, "detail": "PROVIDER WORDS"}
PAGE = b"\n<!DOCTYPE html>\n<title>PROVIDER WORDS</title>"
FIRST_EVENT = {"id": "g", "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}


def as_json(value: Any, label: str = "application/json") -> Given:
    return body(json.dumps(value).encode(), label)


REFUSALS: dict[str, tuple[Given, str, int, int]] = {
    "OpenAI's form": (as_json(THROTTLED), "upstream_throttled", 429, 2),
    "OpenAI's form, as an event stream": (as_json(THROTTLED, "text/event-stream"), "upstream_throttled", 429, 2),
    "OpenAI's form, byte by byte": (
        pieces(json.dumps(THROTTLED, indent=1).encode(), segment=1),
        "upstream_throttled",
        429,
        2,
    ),
    "a number": (as_json({"error": {"message": "PROVIDER WORDS", "code": 429}}), "upstream_throttled", 429, 2),
    "a string": (as_json({"error": "PROVIDER WORDS"}), "upstream_failed", 502, 2),
    "too long": (as_json(TOO_LONG), "context_too_long", 400, 1),
    "flat": (as_json({"code": 404, "message": "PROVIDER WORDS", "object": "error"}), "upstream_refused", 502, 1),
    "flat, and does not say so": (as_json({"code": 401, "message": "PROVIDER WORDS"}), "upstream_refused", 502, 1),
    "FastAPI's": (as_json({"detail": "PROVIDER WORDS"}), "upstream_failed", 502, 2),
    "FastAPI's list": (as_json({"detail": [{"loc": ["body"], "msg": "PROVIDER WORDS"}]}), "upstream_rejected", 400, 1),
    "problem details": (as_json(PROBLEM, "application/problem+json"), "upstream_refused", 502, 1),
    "Google's list": (as_json([{"error": {"code": 400, "message": "PROVIDER WORDS"}}]), "upstream_rejected", 400, 1),
    "compressed": (
        ((), {"body": gzip.compress(json.dumps(THROTTLED).encode()), "headers": GZIPPED}),
        "upstream_throttled",
        429,
        2,
    ),
    "a page": (body(PAGE, "text/html; charset=utf-8"), "upstream_failed", 502, 2),
    "a page, as an event stream": (pieces(PAGE, segment=1), "upstream_failed", 502, 2),
    "a first event": (pieces(b": ping\n\n", THROTTLED), "upstream_throttled", 429, 2),
    "a first event, and [DONE]": (pieces(TOO_LONG, b"data: [DONE]\n\n"), "context_too_long", 400, 1),
    "a first event of OpenRouter's": (pieces(THROTTLED | FIRST_EVENT), "upstream_throttled", 429, 2),
    "a first event, and a connection that breaks": (
        pieces(b"data: " + json.dumps(THROTTLED).encode(), Cut(reset=False)),
        "upstream_throttled",
        429,
        2,
    ),
}

PERHAPS_PAID: dict[str, tuple[Given, str]] = {
    "an empty body": (body(b""), "upstream_cut"),
    "an empty event stream": (pieces(), "upstream_cut"),
    "an empty object": (as_json({}), "upstream_cut"),
    "an object of something else": (as_json({"ok": True}), "upstream_cut"),
    "no choices": (as_json({"id": "x", "choices": []}), "upstream_cut"),
    "JSON that is cut": (body(WHOLE[:-9]), "upstream_garbled"),
    "text": (body(b"upstream connect error", "text/plain"), "upstream_cut"),
    "an error after the first chunk": (pieces(chunk(role="assistant", content=""), THROTTLED), "upstream_throttled"),
}


class Site:
    """The routes, by one of the ways to the upstream."""

    def __init__(self, upstream: Upstream, server: Server | None = None, app: Flask | None = None) -> None:
        self.upstream = upstream
        self._server = server
        self._app = app
        upstream.requests.clear()

    def answer(self, given: Given, times: int = 1) -> None:
        steps, options = given
        for _ in range(times):
            self.upstream.answer(*steps, **options)

    def events(self) -> list[Event]:
        if self._server:
            return self._server.events()
        assert self._app
        return read_events(self._app.test_client().get("/llm/chat?prompt=hi").data)

    def post(self, path: str = "/llm/chat", **fields: Any) -> tuple[int, Any, Any]:
        """Status, headers and JSON of a question that is posted."""
        question = fields or {"prompt": "hi"}
        if self._server:
            response = self._server.post(path, **question)
            return response.status_code, response.headers, response.json()
        assert self._app
        answer = self._app.test_client().post(path, json=question)
        return answer.status_code, answer.headers, answer.json

    def record(self, stream_id: str) -> dict[str, str]:
        if self._server:
            return self._server.record(stream_id)
        assert self._app
        (record,) = (each for each in self._app.extensions["records"] if each.id == stream_id)
        return {name: str(getattr(record, name)) for name in ("status", "source", "error_code")}

    @property
    def asked(self) -> int:
        return len(self.upstream.requests)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(upstream, tmp_path_factory.mktemp("server"), model="scripted", retries=1)
    yield server
    server.process.kill()
    server.process.wait()


OPEN: dict[str, Callable[[], Any]] = {"httpx2": httpx2.Client, "httpx": httpx.Client}


@pytest.fixture(params=["gunicorn", *OPEN])
def site(request: pytest.FixtureRequest, upstream: Upstream) -> Iterator[Site]:
    upstream.clear()
    with ExitStack() as stack:
        if request.param == "gunicorn":
            yield Site(upstream, server=request.getfixturevalue("server"))
        else:
            own = stack.enter_context(OPEN[request.param]())
            client = OpenAI(base_url=upstream.base_url, api_key="sk-secret", http_client=own)
            llm = LLMStream("llm", __name__, model="scripted", client=client)
            yield Site(upstream, app=request.getfixturevalue("make_app")(llm, retries=1))
        eventually(lambda: upstream.open == 0, "the end of every upstream request")


def check(site: Site, events: list[Event], status: str, source: str, code: str | None = None) -> None:
    record = site.record(of_kind(events, "start")["id"])
    assert (record["status"], record["source"], record["error_code"] or "None") == (status, source, str(code))
    assert of_kind(events, "done")["status"] == status
    assert of_kind(events, "usage")["source"] == source
    assert [data["code"] for _, kind, data in events if kind == "failure"] == ([code] if code else [])
    assert "PROVIDER WORDS" not in json.dumps(events)


@pytest.mark.parametrize("given", ANSWERS)
def test_answer_is_delivered_whatever_its_frame_and_label(site: Site, given: str) -> None:
    site.answer(ANSWERS[given])
    events = site.events()
    check(site, events, "completed", "provider")
    assert text_of(events) == "Hello world"
    usage = of_kind(events, "usage")
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 2)
    assert site.asked == 1


def test_whole_answer_that_is_posted_for_is_delivered(site: Site) -> None:
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": None, "reasoning_content": "Hm", "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    site.answer(as_json(COMPLETION | {"choices": [choice]}, "text/plain"))
    messages = [{"role": "user", "content": "hi"}]
    status, _, completion = site.post("/llm/v1/chat/completions", messages=messages, model="scripted")
    assert status == 200
    (told,) = completion["choices"]
    assert told["message"]["tool_calls"] == [call] and told["message"]["reasoning_content"] == "Hm"
    assert told["finish_reason"] == "tool_calls"


def fragment(name: str | None, arguments: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}} | more


TWO_CALLS = [("f", '{"x":1}'), ("f", '{"x":2}')]

CALLS: dict[str, list[dict[str, Any]]] = {
    "one index for both": [
        *[chunk(tool_calls=[fragment("f", '{"x"', index=0)]), chunk(tool_calls=[fragment(None, ":1}", index=0)])],
        *[chunk(tool_calls=[fragment("f", '{"x"', index=0)]), chunk(tool_calls=[fragment(None, ":2}", index=0)])],
    ],
    "objects": [chunk(tool_calls=[fragment("f", {"x": 1}, id=""), fragment("f", {"x": 2}, id="")])],
    "deltas and a message": [
        chunk(tool_calls=[fragment("f", '{"x":1}', index=0, id="a")]),
        {"choices": [{"message": {"tool_calls": [fragment("f", {"x": 1}, id="a"), fragment("f", {"x": 2}, id="b")]}}]},
    ],
}


@pytest.mark.parametrize("given", CALLS)
def test_tool_calls_reach_the_client_however_a_server_numbers_them(site: Site, given: str) -> None:
    site.answer(pieces(*CALLS[given], chunk("tool_calls", USAGE)))
    messages = [{"role": "user", "content": "hi"}]
    _, _, completion = site.post("/llm/v1/chat/completions", messages=messages, model="scripted")
    (choice,) = completion["choices"]
    calls = choice["message"]["tool_calls"]
    assert [(call["function"]["name"], call["function"]["arguments"]) for call in calls] == TWO_CALLS
    assert len({call["id"] for call in calls} - {None, ""}) == 2
    assert choice["finish_reason"] == "tool_calls"


def test_old_function_call_reaches_the_client_as_a_tool_call(site: Site) -> None:
    given = {"name": "f", "arguments": '{"x"'}, {"arguments": ":1}"}
    site.answer(pieces(*[chunk(content="", function_call=each) for each in given], chunk("function_call", USAGE)))
    events = site.events()
    check(site, events, "completed", "provider")
    first, second = (data for _, kind, data in events if kind == "tool_call")
    assert (first["index"], first["name"], first["arguments"]) == (0, "f", '{"x"')
    assert first["id"].startswith("call_") and second == {"index": 0, "arguments": ":1}"}


@pytest.mark.parametrize("site", ["gunicorn", "httpx2"], indirect=True)
@pytest.mark.parametrize("given", REFUSALS)
def test_error_under_200_is_a_refusal(site: Site, given: str, caplog: pytest.LogCaptureFixture) -> None:
    told, code, status, attempts = REFUSALS[given]
    site.answer(told, attempts)
    events = site.events()
    check(site, events, "failed", "none", code)
    assert set(of_kind(events, "usage")) == {"source"}
    assert site.asked == attempts

    site.answer(told, attempts)
    answered, _, error = site.post()
    assert (answered, error["error"]["code"]) == (status, code)
    assert "PROVIDER WORDS" not in json.dumps(error) + caplog.text


def test_refusal_under_200_is_retried_and_bought_once(site: Site) -> None:
    site.answer(as_json(THROTTLED))
    site.answer(ANSWERS["event stream"])
    events = site.events()
    check(site, events, "completed", "provider")
    assert text_of(events) == "Hello world"
    assert of_kind(events, "usage")["input_tokens"] == 3


def test_refusal_under_200_says_when_to_come_back(site: Site) -> None:
    headers = JSON | {"Retry-After": "7", "x-request-id": "r"}
    site.answer(((), {"body": json.dumps(THROTTLED).encode(), "headers": headers}))
    status, told, _ = site.post()
    assert (status, told["Retry-After"]) == (429, "7")
    assert site.asked == 1

    site.answer(((), {"body": json.dumps(THROTTLED).encode(), "headers": headers}))
    messages = [{"role": "user", "content": "hi"}]
    status, told, _ = site.post("/llm/v1/chat/completions", messages=messages, model="scripted")
    assert (status, told["x-should-retry"]) == (429, "true")


@pytest.mark.parametrize("given", PERHAPS_PAID)
def test_what_may_have_been_paid_for_is_estimated(site: Site, given: str) -> None:
    told, code = PERHAPS_PAID[given]
    site.answer(told, 2)
    events = site.events()
    check(site, events, "failed", "estimated", code)


def test_refused_model_gives_way_to_the_next(upstream: Upstream, make_app: Callable[..., Flask]) -> None:
    app = make_app(fallback_models=["second", "third"], retries=0)
    site = Site(upstream, app=app)
    site.answer(as_json(THROTTLED))
    site.answer(body(PAGE, "text/html"))
    site.answer(ANSWERS["JSON as text"])
    events = site.events()
    check(site, events, "completed", "provider")
    assert [asked.json["model"] for asked in upstream.requests] == ["scripted", "second", "third"]
