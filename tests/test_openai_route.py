"""`/v1`: who may ask for what, what goes upstream, and the form of every answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest
from flask import Flask
from flask import abort
from flask import request
from flask.testing import FlaskClient
from openai import OpenAI
from werkzeug.exceptions import TooManyRequests

from llm_stream import Done
from llm_stream import LLMStream
from llm_stream import Start
from llm_stream import ToolCall
from llm_stream import Usage
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Script
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.wire.openai import OpenAIWire
from llm_stream.wire.openai import completion_of

from .conftest import PATIENCE_S
from .conftest import eventually
from .conftest import text_of

MakeApp = Callable[..., Flask]

URL = "/llm/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
CALLED = {"role": "assistant", "content": None, "tool_calls": [CALL]}
TOOL = {"role": "tool", "tool_call_id": "call_1", "content": "7"}
BROWSERS = [{"Origin": "http://localhost"}, {"Sec-Fetch-Site": "same-origin"}]


@pytest.fixture
def client(make_app: MakeApp) -> FlaskClient:
    return make_app(models=["other"], max_output_tokens=100, max_request_bytes=4000, retries=0).test_client()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(lambda asked: Script(["Hello"])) as upstream:
        yield upstream
        eventually(lambda: upstream.open == 0, "the end of every upstream request")


def ask(client: FlaskClient, /, headers: Any = None, **body: Any) -> Any:
    return client.post(URL, json={"model": "scripted", "messages": HI} | body, headers=headers)


def test_stream_to_the_byte(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo", usage={"prompt_tokens": 1, "completion_tokens": 2})
    response = ask(client, stream=True, stream_options={"include_usage": True})
    start = json.loads(response.text.partition("\n")[0].removeprefix("data: "))
    head = f'{{"id":"{start["id"]}","object":"chat.completion.chunk","created":{start["created"]},"model":"scripted",'

    def chunk(delta: str, reason: str = "null") -> str:
        choice = f'{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":{reason}}}'
        return f'data: {head}"choices":[{choice}],"usage":null}}\n\n'

    assert response.text == (
        chunk('{"role":"assistant","content":""}')
        + chunk('{"content":"Hel"}')
        + chunk('{"content":"lo"}')
        + chunk("{}", '"stop"')
        + f'data: {head}"choices":[],"usage":'
        + '{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"source":"provider"}}\n\n'
        + "data: [DONE]\n\n"
    )
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["x-request-id"] == start["id"]
    assert response.headers["x-llm-stream-url"] == f"/llm/streams/{start['id']}"
    assert response.headers["x-should-retry"] == "false"


def test_completion_to_the_letter(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo", usage={"prompt_tokens": 1, "completion_tokens": 2, "cost": 0.25})
    response = ask(client)
    completion = response.json
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert completion == {
        "id": response.headers["x-request-id"],
        "object": "chat.completion",
        "created": completion["created"],
        "model": "scripted",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": {
            "prompt_tokens": 1,
            "completion_tokens": 2,
            "total_tokens": 3,
            "source": "provider",
            "cost": 0.25,
            "currency": "USD",
        },
    }
    assert response.headers["x-should-retry"] == "false"


def test_error_in_the_stream_to_the_letter(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    *_, error, end, nothing = ask(client, stream=True).text.split("\n\n")
    assert (end, nothing) == ("data: [DONE]", "")
    told = json.loads(error.removeprefix("data: "))
    assert told == {
        "error": {
            "message": "The answer broke off. Please try again.",
            "type": "server_error",
            "param": None,
            "code": "upstream_cut",
            "retryable": True,
            "error_id": told["error"]["error_id"],
        }
    }


def test_bearer_token_is_there_for_authorize(upstream: Upstream, make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="x"))

    @llm.authorize
    def owner() -> Any:
        token = request.authorization.token if request.authorization else None
        return {"sk-of-ann": "ann"}.get(token or "") or abort(401, "no such key")

    app = make_app(llm, public=False)

    def stock_client(key: str) -> OpenAI:
        http = httpx2.Client(transport=httpx2.WSGITransport(app))
        return OpenAI(base_url="http://localhost/llm/v1", api_key=key, http_client=http)

    with stock_client("sk-of-ann") as client:
        upstream.answer("Hello")
        assert client.chat.completions.create(model="scripted", messages=HI).choices[0].message.content == "Hello"  # type: ignore[arg-type]
        assert [record.owner for record in app.extensions["records"]] == ["ann"]
    with stock_client("sk-of-nobody") as client:
        for call in (client.models.list, lambda: client.chat.completions.create(model="scripted", messages=[])):
            with pytest.raises(openai.AuthenticationError) as raised:
                call()
            assert (raised.value.type, raised.value.code) == ("authentication_error", "unauthorized")
            assert "no such key" in raised.value.message
            assert raised.value.request_id
    assert len(upstream.requests) == 1


def test_headers_of_an_abort_are_kept(upstream: Upstream, make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="scripted")

    @llm.authorize
    def owner() -> Any:
        raise TooManyRequests("one a minute", retry_after=60)

    response = ask(make_app(llm, public=False).test_client())
    assert (response.status_code, response.headers["Retry-After"]) == (429, "60")
    assert response.json["error"]["type"] == "rate_limit_error"
    assert "x-should-retry" not in response.headers  # SDKs know what to do with a 429


PASSED_ON = {
    "top_p": 0.5,
    "top_k": 40,
    "frequency_penalty": 0.5,
    "presence_penalty": -0.5,
    "logit_bias": {"50256": -100},
    "seed": 7,
    "stop": ["\n", "END"],
    "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {}}},
    "tool_choice": {"type": "function", "function": {"name": "f"}},
    "parallel_tool_calls": False,
    "reasoning_effort": "low",
    "verbosity": "low",
    "user": "someone",
    "safety_identifier": "someone",
    "prompt_cache_key": "k",
}


def test_what_only_the_model_understands_is_passed_on(client: FlaskClient, upstream: Upstream) -> None:
    tools = [{"type": "function", "function": {"name": "f", "strict": True, "parameters": {"type": "object"}}}]
    assert ask(client, tools=tools, temperature=0.5, max_tokens=50, **PASSED_ON).status_code == 200
    assert upstream.request(0).json == PASSED_ON | {
        "messages": HI,
        "model": "scripted",
        "temperature": 0.5,
        "max_tokens": 50,
        "tools": tools,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_what_could_make_it_dearer_is_left_out_and_the_answer_says_so(client: FlaskClient, upstream: Upstream) -> None:
    dearer: dict[str, Any] = {
        "service_tier": "priority",
        "store": True,
        "metadata": {},
        "models": ["dear/one"],
        "x y": 1,
    }
    response = ask(client, **dearer, prediction=None)
    assert response.status_code == 200
    assert response.headers["x-llm-stream-left-out"] == "metadata, models, service_tier, store"
    assert not set(dearer) & set(upstream.request(0).json)


def test_nulls_and_modest_values_are_no_reason_to_refuse(client: FlaskClient, upstream: Upstream) -> None:
    names = ["n", "logprobs", "top_logprobs", "audio", "functions", "tools", "stop", "stream", "stream_options", "seed"]
    assert ask(client, **dict.fromkeys(names)).status_code == 200
    assert ask(client, n=1, logprobs=False, modalities=["text"], tools=[]).status_code == 200
    assert set(upstream.request(1).json) == {"model", "messages", "stream", "stream_options", "max_tokens"}


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"top_p": "much"}, "top_p"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type"),
        ({"messages": []}, "messages"),
        ({"messages": None}, "messages"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant"}]}, "messages[0].content"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0].tool_call_id"),
        ({"messages": [CALLED | {"role": "user", "content": "x"}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "user", "content": [{"type": "video"}]}]}, "messages[0].content[0].type"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content[0].text"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///x"}}]}]},
            "messages[0].content[0].image_url.url",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]},
            "messages[0].content[0].file.file_id",
        ),
    ],
)
def test_error_names_the_parameter(client: FlaskClient, upstream: Upstream, given: dict[str, Any], param: str) -> None:
    response = ask(client, **given)
    assert response.status_code == 400
    error = response.json["error"]
    assert set(error) == {"message", "type", "param", "code", "retryable", "error_id"}
    assert (error["param"], error["type"]) == (param, "invalid_request_error")
    assert param in error["message"]
    assert response.headers["x-request-id"] == error["error_id"]
    assert response.headers["x-should-retry"] == "false"
    assert not upstream.requests


@pytest.mark.parametrize(
    ("body", "content_type", "status", "code"),
    [
        (b"{nonsense", "application/json", 400, "invalid_request"),
        (b"[]", "application/json", 400, "invalid_request"),
        (b"[" * 3000, "application/json", 400, "invalid_request"),
        (b'{"messages":' * 300 + b"1" + b"}" * 300, "application/json", 400, "invalid_field"),
        (b"{}", "text/plain", 415, "not_json"),
        (b'"%b"' % (b"x" * 5000), "application/json", 413, "too_large"),
    ],
)
def test_error_of_a_body_that_cannot_be_read(
    client: FlaskClient, body: bytes, content_type: str, status: int, code: str
) -> None:
    response = client.post(URL, data=body, content_type=content_type)
    assert (response.status_code, response.json["error"]["code"]) == (status, code)
    assert response.json["error"]["type"] == "invalid_request_error"


def test_output_limit_is_the_least_of_all(client: FlaskClient, upstream: Upstream) -> None:
    for given in ({"max_tokens": 8192}, {"max_completion_tokens": 50}, {"max_tokens": 50, "max_completion_tokens": 9}):
        assert ask(client, **given).status_code == 200
    assert [asked.json["max_tokens"] for asked in upstream.requests] == [100, 50, 9]


def test_model_may_be_left_out(client: FlaskClient, upstream: Upstream) -> None:
    assert ask(client, model=None).json["model"] == "scripted"
    assert ask(client, model="other").json["model"] == "other"
    response = ask(client, model="expensive")
    assert (response.status_code, response.json["error"]["code"]) == (404, "model_not_found")
    assert [asked.json["model"] for asked in upstream.requests] == ["scripted", "other"]


@pytest.mark.parametrize("role", ["system", "developer"])
def test_roles_of_the_operator_are_for_programs(client: FlaskClient, upstream: Upstream, role: str) -> None:
    messages = [{"role": role, "content": "Obey."}, *HI]
    assert ask(client, messages=messages).status_code == 200
    assert ask(client, messages=messages, headers={"Sec-Fetch-Mode": "cors"}).status_code == 200  # Node's fetch
    assert upstream.request(0).json["messages"] == messages
    for browser in BROWSERS:
        response = ask(client, messages=messages, headers=browser)
        assert (response.status_code, response.json["error"]["param"]) == (400, "messages[0].role")
    assert len(upstream.requests) == 2


def test_tools_are_answered_by_browsers_only_where_they_were_called(client: FlaskClient, upstream: Upstream) -> None:
    assert ask(client, messages=[*HI, TOOL]).status_code == 200
    for browser in BROWSERS:
        assert ask(client, messages=[*HI, CALLED, TOOL], headers=browser).status_code == 200
        for forged in ([*HI, TOOL], [*HI, TOOL, CALLED], [*HI, CALLED, TOOL | {"tool_call_id": "call_2"}]):
            assert ask(client, messages=forged, headers=browser).status_code == 400
    assert len(upstream.requests) == 3


def test_pages_of_other_sites_are_refused(client: FlaskClient, upstream: Upstream) -> None:
    for send in (lambda **options: ask(client, **options), lambda **options: client.get("/llm/v1/models", **options)):
        response = send(headers={"Sec-Fetch-Site": "cross-site"})
        assert (response.status_code, response.json["error"]["type"]) == (403, "permission_error")
    assert not upstream.requests


def test_parts_are_passed_on_and_what_no_provider_takes_back_is_not(client: FlaskClient, upstream: Upstream) -> None:
    parts = [
        {"type": "text", "text": "ü"},
        {"type": "image_url", "image_url": {"url": "https://x.example/y.png", "detail": "low"}},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"filename": "x.pdf", "file_data": "data:application/pdf;base64,AAAA"}},
    ]
    user = {"role": "user", "content": parts, "name": "ann"}
    more: dict[str, Any] = {
        "annotations": [],
        "audio": None,
        "function_call": None,
        "refusal": None,
    }
    fragment = CALL | {"index": 0}
    assert ask(client, messages=[user, CALLED | more | {"tool_calls": [fragment]}, TOOL]).status_code == 200
    called = {"role": "assistant", "tool_calls": [CALL]}
    assert upstream.request(0).json["messages"] == [user, called, TOOL]


@pytest.mark.parametrize(
    ("script", "status", "type_", "code", "retry"),
    [
        ({"status": 400}, 400, "invalid_request_error", "upstream_rejected", "false"),
        ({"status": 413}, 400, "invalid_request_error", "context_length_exceeded", "false"),
        ({"status": 401}, 502, "server_error", "upstream_refused", "false"),
        ({"status": 429}, 429, "rate_limit_error", "upstream_throttled", "true"),
        ({"status": 500}, 502, "server_error", "upstream_failed", "true"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
def test_error_of_the_upstream_has_an_honest_status(
    client: FlaskClient, upstream: Upstream, script: Any, status: int, type_: str, code: str, retry: str, streamed: bool
) -> None:
    upstream.answer(**script)
    response = ask(client, stream=streamed)
    error = response.json["error"]
    assert (response.status_code, error["type"], error["code"]) == (status, type_, code)
    assert response.headers["x-should-retry"] == retry
    assert response.headers["x-request-id"] in response.headers["x-llm-stream-url"]
    assert "scripted refusal" not in response.text


def test_error_of_a_stream_with_a_key_is_not_retried_because_it_would_come_again(
    client: FlaskClient, upstream: Upstream
) -> None:
    upstream.answer(status=500)
    for _ in range(2):
        response = ask(client, headers={"Idempotency-Key": "k"})
        assert (response.status_code, response.headers["x-should-retry"]) == (502, "false")
    assert len(upstream.requests) == 1


def test_key_of_another_question_is_a_conflict(client: FlaskClient, upstream: Upstream) -> None:
    key = {"Idempotency-Key": "k"}
    upstream.answer("Hello")
    first = ask(client, headers=key, stream=True, seed=7)
    assert '"content":"Hello"' in first.text
    again = ask(client, headers=key, seed=7)
    assert again.json["id"] == first.headers["x-request-id"]
    for other in ({"seed": 8}, {}, {"seed": 7, "model": "other"}):
        conflict = ask(client, headers=key, **other)
        assert (conflict.status_code, conflict.json["error"]["code"]) == (409, "key_conflict")
        assert conflict.headers["x-should-retry"] == "false"
    assert ask(client, headers={"Idempotency-Key": "x" * 129}).status_code == 400
    assert len(upstream.requests) == 1


def test_error_of_too_many_streams_says_when_to_come_again(make_app: MakeApp, upstream: Upstream) -> None:
    client = make_app(max_streams_per_owner=1).test_client()
    gate = Gate()
    upstream.answer(gate)
    url = client.post("/llm/streams", json={"prompt": "x"}).json["url"]
    refused = ask(client)
    assert (refused.status_code, refused.json["error"]["type"]) == (429, "rate_limit_error")
    assert (int(refused.headers["Retry-After"]), refused.headers["x-should-retry"]) == (5, "true")
    gate.open()
    client.get(url, buffered=True)


@pytest.mark.parametrize("streamed", [True, False])
def test_answer_that_was_begun_again_is_an_error_only_where_it_was_streamed(
    make_app: MakeApp, upstream: Upstream, streamed: bool
) -> None:
    client = make_app(retry_after_content=True).test_client()
    upstream.answer("Hel", Cut())
    upstream.answer("Hello")
    response = ask(client, stream=streamed)
    if streamed:
        *chunks, error, end, _ = response.text.split("\n\n")
        assert "Hello" not in "".join(chunks) and end == "data: [DONE]"
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "upstream_cut"
    else:
        assert response.json["choices"][0]["message"]["content"] == "Hello"


def test_error_of_our_own_is_not_retried(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="scripted")

    @llm.authorize
    def owner() -> bool:  # who pays? it does not say
        return True

    response = ask(make_app(llm, public=False).test_client())
    assert (response.status_code, response.json["error"]["type"]) == (500, "server_error")
    assert response.headers["x-should-retry"] == "false"


def test_page_of_an_allowed_site_may_see_whether_to_retry(make_app: MakeApp, upstream: Upstream) -> None:
    client = make_app(origins=["https://friend.example"]).test_client()
    response = ask(client, headers={"Origin": "https://friend.example"})
    assert "x-should-retry" in response.headers["Access-Control-Expose-Headers"]


def test_stream_can_be_read_and_stopped_under_its_own_url(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    url = ask(client, stream=True, headers={}).headers["x-llm-stream-url"]
    assert text_of(read_events(client.get(url).data)) == "Hello"
    assert client.delete(url).status_code == 204


def test_answer_that_was_stopped_is_an_error(client: FlaskClient, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate)
    key = {"Idempotency-Key": "k"}
    streamed = ask(client, stream=True, headers=key)
    assert gate.reached.wait(PATIENCE_S)
    client.delete(streamed.headers["x-llm-stream-url"])
    assert '"code":"cancelled"' in streamed.text
    whole = ask(client, headers=key)
    assert (whole.status_code, whole.json["error"]["code"]) == (499, "cancelled")
    eventually(lambda: upstream.open == 0)


def test_tool_call_without_an_id_is_given_one(client: FlaskClient, upstream: Upstream) -> None:
    for _ in range(2):
        call = {"index": 0, "function": {"name": "f", "arguments": "{}"}}
        upstream.answer({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}, finish_reason="function_call")
    response = ask(client, stream=True)
    made = re.search(r'"id":"(call_[0-9a-f]{24})"', response.text)
    snapshot = client.get(response.headers["x-llm-stream-url"], headers={"Accept": "application/json"}).json
    assert made and snapshot["tool_calls"][0]["id"] == made[1]  # every reader is told the same
    assert '"finish_reason":"tool_calls"' in response.text
    (choice,) = ask(client).json["choices"]
    assert re.fullmatch("call_[0-9a-f]{24}", choice["message"]["tool_calls"][0]["id"])
    assert choice["message"]["tool_calls"][0]["id"] != made[1]
    assert (choice["message"]["content"], choice["finish_reason"]) == (None, "tool_calls")


def test_tool_call_of_a_generator_without_an_id_is_given_one() -> None:
    events = [Start("s", "m", 1), ToolCall(0, "{}", name="f"), Usage(), Done("completed", "tool_calls")]
    assert '"id":"call_s_0"' in OpenAIWire().encode("s", 1, events).decode()
    (choice,) = completion_of(events)["choices"]
    assert choice["message"]["tool_calls"][0]["id"] == "call_s_0"


def test_second_blueprint_has_its_own_v1(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    client = OpenAI(base_url=upstream.base_url, api_key="x")
    second = LLMStream("second", __name__, model="another", client=client)
    app.register_blueprint(second, url_prefix="/second")
    response = app.test_client().post("/second/v1/chat/completions", json={"messages": HI})
    assert response.json["model"] == "another"
    assert response.headers["x-llm-stream-url"].startswith("/second/streams/")
    second.close()
