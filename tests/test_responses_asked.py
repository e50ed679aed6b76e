"""What the Responses API is asked, and which of the models are asked by it."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import Response
from openai import AzureOpenAI
from openai import OpenAI
from pydantic import BaseModel

from llm_stream import LLMStream
from llm_stream.chat_request import ChatRequest
from llm_stream.settings import Settings
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.upstream.responses import Responses

from .calling import call
from .calling import calling
from .conftest import Event
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .databases import SQLite
from .test_budget import RUPEES
from .test_budget import budget
from .test_budget import spent

MakeApp = Callable[..., Flask]
JSON = dict[str, Any]

THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VjcmV0"}
FUNCTION = {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}}}


def body_of(*messages: JSON, model: str = "m", **fields: Any) -> JSON:
    request = ChatRequest(messages=messages, model=model, max_output_tokens=99, **fields)
    return Responses().body_of(request, model)


def asked_with(**options: Any) -> JSON:
    common = body_of({"role": "user", "content": "hi"})
    body = body_of({"role": "user", "content": "hi"}, options=options)
    return {name: value for name, value in body.items() if name not in common}


def test_body_leaves_nothing_with_the_provider() -> None:
    assert body_of({"role": "user", "content": "hi"}, temperature=0.5) == {
        "model": "m",
        "input": [{"type": "message", "role": "user", "content": "hi"}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "max_output_tokens": 99,
        "temperature": 0.5,
    }


@pytest.mark.parametrize("model", ["gpt-4o-mini", "openai/gpt-4.1", "gpt-3.5-turbo", "chatgpt-4o-latest"])
def test_model_that_cannot_reason_is_not_asked_for_encrypted_reasoning(model: str) -> None:
    assert "include" not in body_of({"role": "user", "content": "hi"}, model=model)


IMAGE = {"type": "image_url", "image_url": {"url": "https://a.example/a.png", "detail": "low"}}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}
TOLD = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}

MESSAGES: dict[str, tuple[JSON, list[JSON]]] = {
    "system": (
        {"role": "system", "content": "Be brief."},
        [{"type": "message", "role": "system", "content": "Be brief."}],
    ),
    "text in parts": (
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
        [{"type": "message", "role": "user", "content": "ab"}],
    ),
    "image and file": (
        {"role": "user", "content": [{"type": "text", "text": "a"}, IMAGE, FILE]},
        [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_image", "image_url": "https://a.example/a.png", "detail": "low"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="},
                ],
            }
        ],
    ),
    "answer with calls": (
        {"role": "assistant", "content": "So.", "tool_calls": [TOLD], "reasoning_items": [THOUGHT]},
        [
            THOUGHT,
            {"type": "message", "role": "assistant", "content": "So."},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
        ],
    ),
    "calls only": (
        {"role": "assistant", "content": None, "tool_calls": [TOLD]},
        [{"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}],
    ),
    "refusal": (
        {"role": "assistant", "content": "Well.", "refusal": "No."},
        [
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Well."}, {"type": "refusal", "refusal": "No."}],
            }
        ],
    ),
    "result": (
        {"role": "tool", "tool_call_id": "c1", "content": "4"},
        [{"type": "function_call_output", "call_id": "c1", "output": "4"}],
    ),
    "what another API wanted back": (
        {"role": "assistant", "content": "So.", "reasoning_details": [{}], "extra_content": {}, "reasoning": "r"},
        [{"type": "message", "role": "assistant", "content": "So."}],
    ),
    "words of a reader among the reasoning": (
        {"role": "assistant", "content": "So.", "reasoning_items": [{"type": "message", "role": "system"}, 5, THOUGHT]},
        [THOUGHT, {"type": "message", "role": "assistant", "content": "So."}],
    ),
}


@pytest.mark.parametrize("case", MESSAGES)
def test_message_becomes_items(case: str) -> None:
    message, items = MESSAGES[case]
    assert body_of(message)["input"] == items


def test_functions_are_not_strict_unless_they_say_so() -> None:
    tools = [
        {"type": "function", "function": FUNCTION},
        {"type": "function", "function": {"name": "g", "strict": True}},
    ]
    assert body_of(tools=[*tools, {"type": "web_search"}])["tools"] == [
        {"type": "function", "strict": False, **FUNCTION},
        {"type": "function", "name": "g", "strict": True, "parameters": {"type": "object", "properties": {}}},
        {"type": "web_search"},
    ]


SCHEMA = {"name": "s", "schema": {"type": "object"}, "strict": True}
OPTIONS: list[tuple[JSON, JSON]] = [
    ({"reasoning_effort": "low"}, {"reasoning": {"effort": "low", "summary": "auto"}}),
    ({"verbosity": "low"}, {"text": {"verbosity": "low"}}),
    ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
    (
        {"response_format": {"type": "json_schema", "json_schema": SCHEMA}, "verbosity": "high"},
        {"text": {"format": {"type": "json_schema", **SCHEMA}, "verbosity": "high"}},
    ),
    ({"tool_choice": "required"}, {"tool_choice": "required"}),
    (
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"tool_choice": {"type": "function", "name": "f"}},
    ),
    (
        {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "f"}}]},
            }
        },
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]}},
    ),
    (
        {"parallel_tool_calls": False, "top_p": 0.5, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
        {"parallel_tool_calls": False, "top_p": 0.5, "user": "u", "safety_identifier": "s", "prompt_cache_key": "k"},
    ),
    ({"seed": 1, "stop": ["x"], "frequency_penalty": 1, "presence_penalty": 1, "logit_bias": {}, "n": 1}, {}),
    ({"background": True, "store": True}, {}),
]


@pytest.mark.parametrize(("options", "asked"), OPTIONS)
def test_options_have_the_names_of_this_api(options: JSON, asked: JSON) -> None:
    assert asked_with(**options) == asked


@pytest.mark.parametrize(
    ("setting", "default", "expected"),
    [
        ("chat", None, "chat"),
        ("responses", None, "responses"),
        ("chat", "responses", "responses"),
        ("responses", "chat", "chat"),
        ({"gpt-5": "responses"}, None, "responses"),
        ({"gpt-5": "chat"}, "responses", "chat"),
        ({"other": "responses"}, None, "chat"),
        ({"other": "chat"}, "responses", "responses"),
    ],
)
def test_api_is_that_of_the_model_or_the_instance(setting: Any, default: Any, expected: str) -> None:
    assert Settings(api=setting).api_of("gpt-5", default) == expected


def test_table_of_apis_is_json_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_STREAM_PUBLIC", "true")
    monkeypatch.setenv("LLM_STREAM_API", '{"gpt-5": "responses"}')
    app, llm = Flask(__name__), LLMStream("llm", __name__, model="m")
    app.register_blueprint(llm)
    with app.app_context():
        assert llm.state.settings.api == {"gpt-5": "responses"}


def ask(app: Flask, path: str = "/llm/chat?prompt=hi", **body: Any) -> list[Event]:
    client = app.test_client()
    return read_events((client.post("/llm/chat", json=body) if body else client.get(path)).data)


def llm_of(app: Flask) -> LLMStream:
    return app.blueprints["llm"]  # type: ignore[return-value]


def paths(upstream: Upstream) -> list[str]:
    return [asked.path for asked in upstream.requests]


def test_instance_has_an_api_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    client = OpenAI(base_url=upstream.base_url, api_key="sk-secret")
    app = make_app(LLMStream("llm", __name__, model="scripted", client=client, api="responses"))
    for _ in range(4):  # the head of a request is used again after two
        upstream.answer("Hel", "lo")
        assert text_of(ask(app)) == "Hello"
    assert paths(upstream) == ["/v1/responses"] * 4
    bodies = [asked.json for asked in upstream.requests]
    assert bodies == [bodies[0]] * 4
    assert upstream.connections == 1


def test_azure_has_it_below_no_deployment(make_app: MakeApp, upstream: Upstream) -> None:
    endpoint = upstream.base_url.removesuffix("/v1")
    client = AzureOpenAI(azure_endpoint=endpoint, api_key="sk-secret", api_version="preview")
    upstream.answer("Hello")
    app = make_app(LLMStream("llm", __name__, model="my-deployment", client=client, api="responses"))
    assert text_of(ask(app)) == "Hello"
    assert paths(upstream) == ["/openai/responses?api-version=preview"]
    assert upstream.requests[0].json["model"] == "my-deployment"


def test_fallback_model_may_have_another_api(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api={"scripted": "responses"}, fallback_models=["other"], retries=0)
    upstream.answer({"type": "error", "code": "rate_limit_exceeded", "message": "x", "param": None})
    upstream.answer("Hello")
    events = ask(
        app,
        messages=[
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": "So.", "opaque": {"reasoning_items": [THOUGHT]}},
            {"role": "user", "content": "hi"},
        ],
    )
    assert text_of(events) == "Hello"
    assert of_kind(events, "done")["status"] == "completed"
    assert paths(upstream) == ["/v1/responses", "/v1/chat/completions"]
    assert THOUGHT in upstream.requests[0].json["input"]
    assert "reasoning_items" not in json.dumps(upstream.requests[1].json)
    (record,) = app.extensions["records"]
    assert (record.status, record.output_tokens) == ("completed", 1)


def test_rate_limit_in_the_stream_is_retried(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses", retries=1)
    error = {"code": "rate_limit_exceeded", "message": "x"}
    upstream.answer({"type": "response.failed", "response": {"status": "failed", "error": error}}, finish_reason=None)
    upstream.answer("Hello")
    assert text_of(ask(app)) == "Hello"
    assert paths(upstream) == ["/v1/responses"] * 2


def test_figures_and_price_are_those_of_the_provider(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses", prices={"scripted": {"input": "1", "cached": "0.5", "output": "2"}})
    usage = {
        "input_tokens": 1000,
        "output_tokens": 100,
        "input_tokens_details": {"cached_tokens": 400},
        "output_tokens_details": {"reasoning_tokens": 60},
    }
    upstream.answer("Hello", usage=usage)
    assert of_kind(ask(app), "usage")["source"] == "provider"
    (record,) = app.extensions["records"]
    assert (record.input_tokens, record.cached_tokens, record.output_tokens, record.reasoning_tokens) == (
        1000, 400, 100, 60,
    )  # fmt: skip
    assert record.cost == (600 * Decimal(1) + 400 * Decimal("0.5") + 100 * Decimal(2)) / 1_000_000


class Formed(BaseModel):
    a: int


@pytest.mark.usefixtures("one_day")
def test_budget_holds_and_what_was_not_used_comes_back(make_app: MakeApp, upstream: Upstream, tmp_path: Path) -> None:
    ledger = SQLite(tmp_path)
    app = make_app(api="responses", ledger_url=ledger.url, budgets=budget(day=15), **RUPEES)
    upstream.answer("Hello", usage={"input_tokens": 1, "output_tokens": 6})
    assert of_kind(ask(app), "done")["status"] == "completed"
    assert spent(ledger) == 6
    assert app.test_client().post("/llm/chat", json={"prompt": "hi"}).status_code == 402
    assert len(upstream.requests) == 1


def test_form_of_an_answer_is_asked_for_and_checked(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses")

    @app.get("/formed")
    def formed() -> Response:
        return llm_of(app).respond(prompt="hi", schema=Formed)

    upstream.answer('{"a"', ": 1}")
    assert of_kind(ask(app, "/formed"), "done")["status"] == "completed"
    format = upstream.requests[0].json["text"]["format"]
    assert (format["type"], set(format) >= {"name", "schema"}) == ("json_schema", True)
    upstream.answer('{"b": 1}')
    assert of_kind(ask(app, "/formed"), "failure")["code"] == "invalid_output"


def test_tool_runs_and_reasoning_goes_back_with_its_step(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses")

    @llm_of(app).tool
    def weather(city: str) -> JSON:
        """The weather of a city."""
        return {"sky": "clear"}

    thought = {"type": "response.output_item.done", "output_index": 0, "item": THOUGHT}
    upstream.answer(thought, "One moment. ", chunk_of(call("weather", city="Pune")), finish_reason="tool_calls")
    upstream.answer("Clear.")
    events = ask(app)
    assert kinds_of(events) == [
        "start", "delta", "tool_call", "opaque", "tool_result", "step", "delta", "usage", "done",
    ]  # fmt: skip
    first, second = (asked.json for asked in upstream.requests)
    assert [tool["name"] for tool in first["tools"]] == ["weather"]
    assert second["input"] == [
        {"type": "message", "role": "user", "content": "hi"},
        THOUGHT,
        {"type": "message", "role": "assistant", "content": "One moment. "},
        {
            "type": "function_call",
            "call_id": "call_weather",
            "name": "weather",
            "arguments": '{"city": "Pune"}',
        },
        {"type": "function_call_output", "call_id": "call_weather", "output": '{"sky":"clear"}'},
    ]


def chunk_of(*calls: JSON) -> JSON:
    return {"choices": [{"index": 0, "delta": {"tool_calls": list(calls)}, "finish_reason": None}]}


def test_calls_at_once_have_their_results_each(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses")

    @llm_of(app).tool
    def double(number: int) -> int:
        return 2 * number

    calling(upstream, call("double", id="a", number=1), call("double", id="b", number=2))
    upstream.answer("Done.")
    ask(app)
    results = [item for item in upstream.requests[1].json["input"] if item["type"] == "function_call_output"]
    assert [(item["call_id"], item["output"]) for item in results] == [("a", "2"), ("b", "4")]


def test_tools_of_the_provider_are_events(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(api="responses")

    @app.get("/search")
    def search() -> Response:
        return llm_of(app).respond(prompt="hi", tools=[{"type": "web_search"}])

    item = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    cited = {"type": "url_citation", "url": "https://a.example/", "title": "A", "start_index": 0, "end_index": 5}
    upstream.answer(
        {"type": "response.output_item.added", "item": item},
        {"type": "response.web_search_call.completed", "item_id": "ws_1"},
        "Hello",
        {"type": "response.output_text.annotation.added", "annotation": cited},
    )
    events = ask(app, "/search")
    assert kinds_of(events) == ["start", "data", "delta", "source", "usage", "done"]
    assert [data["data"]["status"] for _, kind, data in events if kind == "data"] == ["in_progress", "completed"]
    assert of_kind(events, "source") == {"url": "https://a.example/", "title": "A", "start": 0, "end": 5}
    assert upstream.requests[0].json["tools"] == [{"type": "web_search"}]


def test_demo_without_a_model_answers_by_this_api_too(make_app: MakeApp) -> None:
    app = make_app(api="responses")

    @llm_of(app).tool
    def weather(city: str) -> str:
        return "clear"

    events = ask(app, "/llm/chat?prompt=weather")
    assert of_kind(events, "tool_result")["result"] == "clear"
    assert "The tool `weather` returned" in text_of(events)


def test_scripted_events_are_those_that_openai_s_client_reads(upstream: Upstream) -> None:
    upstream.answer("Hel", "lo", chunk_of(call("f", a=1)), usage={"prompt_tokens": 3, "completion_tokens": 2})
    with (
        OpenAI(base_url=upstream.base_url, api_key="none") as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert kinds[:3] == ["response.created", "response.in_progress", "response.output_item.added"]
    assert response.output_text == "Hello"
    assert response.usage and (response.usage.input_tokens, response.usage.output_tokens) == (3, 2)
    made = response.output[-1]
    assert made.type == "function_call" and (made.name, made.arguments) == ("f", '{"a": 1}')


def test_reader_brings_the_reasoning_back(make_app: MakeApp, upstream: Upstream) -> None:
    """Through `/v1/chat/completions`, as a field of the message that it was sent in."""
    app = make_app(api="responses")
    upstream.answer({"type": "response.output_item.done", "item": THOUGHT}, "So.")
    question = {"role": "user", "content": "hi"}
    client = app.test_client()
    answer = client.post("/llm/v1/chat/completions", json={"model": "scripted", "messages": [question]}).json
    message = answer["choices"][0]["message"]
    assert message["reasoning_items"] == [THOUGHT]
    upstream.answer("Yes.")
    kept = {name: message[name] for name in ("role", "content", "reasoning_items")}
    client.post("/llm/v1/chat/completions", json={"model": "scripted", "messages": [question, kept, question]})
    assert upstream.requests[1].json["input"][1:3] == [
        THOUGHT,
        {"type": "message", "role": "assistant", "content": "So."},
    ]


def test_reader_of_this_api_brings_it_back_too(make_app: MakeApp, upstream: Upstream) -> None:
    """Served by the same API that is asked: the provider's item is within ours."""
    app = make_app(api="responses")
    upstream.answer({"type": "response.output_item.done", "item": THOUGHT}, "So.")
    client = app.test_client()
    question = {"type": "message", "role": "user", "content": "hi"}
    answer = client.post("/llm/v1/responses", json={"model": "scripted", "input": [question]}).json
    upstream.answer("Yes.")
    conversation = [question, *answer["output"], question]
    then = client.post("/llm/v1/responses", json={"model": "scripted", "input": conversation})
    assert then.status_code == 200, then.text
    assert upstream.requests[1].json["input"] == [
        question,
        THOUGHT,
        {"type": "message", "role": "assistant", "content": "So."},
        question,
    ]
