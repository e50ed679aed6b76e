"""The stock OpenAI client for Python, as it is installed, against `/v1`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI
from openai import OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import SOON_S
from ..conftest import Server
from ..conftest import eventually
from ..here import Here
from ..proxy import Proxy

MODEL = "openai/gpt-4o-mini"
SETTINGS = {"models": ["other"], "retries": 0, "disconnect_grace_s": 0.5, "heartbeat_s": 0.2}
HI: Any = [{"role": "user", "content": "hi"}]
WEATHER: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/llm/v1", api_key="sk-of-a-caller") as client:
        yield client


def delta(**fields: Any) -> dict[str, Any]:
    return {"id": "c", "model": "m", "choices": [{"index": 0, "delta": fields, "finish_reason": None}]}


def tool_call(**fields: Any) -> dict[str, Any]:
    return delta(tool_calls=[{"index": 0, **fields}])


def asked(client: OpenAI, **options: Any) -> list[ChatCompletionChunk]:
    return list(client.chat.completions.create(**{"model": MODEL, "messages": HI, "stream": True} | options))


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


def test_text_is_streamed(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo\r\n", "🙂\u2028")
    chunks = asked(client)
    assert text_of(chunks) == "Hello\r\n🙂\u2028"
    assert chunks[0].choices[0].delta.role == "assistant"
    assert {(chunk.id, chunk.created, chunk.model, chunk.object) for chunk in chunks} == {
        (chunks[0].id, chunks[0].created, MODEL, "chat.completion.chunk")
    }
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["stop"]
    assert upstream.requests[0].json["messages"] == HI


def test_text_in_one_piece(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo", finish_reason="length")
    completion = client.chat.completions.create(model="other", messages=HI)
    assert completion.choices[0].message.content == "Hello"
    assert completion.choices[0].finish_reason == "length"
    assert (completion.object, completion.model) == ("chat.completion", "other")
    assert completion._request_id == completion.id


def test_text_survives_heartbeats(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", Pause(0.7), "lo")
    assert text_of(asked(client)) == "Hello"


def test_text_with_the_async_client(server: Server, upstream: Upstream) -> None:
    async def ask() -> str:
        async with AsyncOpenAI(base_url=f"{server.url}/llm/v1", api_key="x") as client:
            stream = await client.chat.completions.create(model=MODEL, messages=HI, stream=True)
            return text_of([chunk async for chunk in stream])

    upstream.answer("Hel", "lo")
    assert asyncio.run(ask()) == "Hello"


def test_text_with_the_stream_helper(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo")
    with client.chat.completions.stream(model=MODEL, messages=HI) as stream:
        assert "".join(event.delta for event in stream if event.type == "content.delta") == "Hello"
        assert stream.get_final_completion().choices[0].message.content == "Hello"


def test_text_of_a_given_form(client: OpenAI, upstream: Upstream) -> None:
    class Weather(BaseModel):
        degrees: int

    upstream.answer('{"degrees"', ": 7}")
    completion = client.chat.completions.parse(model=MODEL, messages=HI, response_format=Weather)
    assert completion.choices[0].message.parsed == Weather(degrees=7)
    assert upstream.requests[0].json["response_format"]["json_schema"]["name"] == "Weather"


def test_text_that_is_a_refusal(client: OpenAI, upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer(delta(refusal="I will "), delta(refusal="not."))
    assert "".join(chunk.choices[0].delta.refusal or "" for chunk in asked(client)) == "I will not."
    message = client.chat.completions.create(model=MODEL, messages=HI).choices[0].message
    assert (message.refusal, message.content) == ("I will not.", None)


def call_the_weather(upstream: Upstream) -> None:
    first = tool_call(id="call_1", type="function", function={"name": "weather", "arguments": '{"city"'})
    upstream.answer(first, tool_call(function={"arguments": ': "Bonn"}'}), finish_reason="tool_calls")


def test_tools_are_called_in_fragments(client: OpenAI, upstream: Upstream) -> None:
    call_the_weather(upstream)
    chunks = asked(client, tools=[WEATHER], tool_choice="auto", parallel_tool_calls=False)
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or ()]
    assert [(call.index, call.id, call.type) for call in calls] == [(0, "call_1", "function"), (0, None, None)]
    assert [call.function and call.function.name for call in calls] == ["weather", None]
    assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"city": "Bonn"}'
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    sent = upstream.requests[0].json
    assert (sent["tools"], sent["tool_choice"], sent["parallel_tool_calls"]) == ([WEATHER], "auto", False)


@pytest.mark.parametrize("streamed", [True, False])
def test_tools_all_the_way_round(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    call_the_weather(upstream)
    upstream.answer("7 degrees.")
    said: Any
    if streamed:
        with client.chat.completions.stream(model=MODEL, messages=HI, tools=[WEATHER]) as stream:
            said = stream.get_final_completion().choices[0].message
    else:
        said = client.chat.completions.create(model=MODEL, messages=HI, tools=[WEATHER]).choices[0].message
    (call,) = said.tool_calls
    assert (call.id, call.function.name, call.function.arguments) == ("call_1", "weather", '{"city": "Bonn"}')
    system: Any = {"role": "system", "content": "Be brief."}
    tool: Any = {"role": "tool", "tool_call_id": call.id, "content": "7"}
    answer = client.chat.completions.create(
        model=MODEL,
        messages=[system, *HI, said.model_dump() | {"annotations": [], "audio": None, "reasoning_content": "x"}, tool],
        tools=[WEATHER],
    )
    assert answer.choices[0].message.content == "7 degrees."
    sent = upstream.requests[1].json["messages"]
    assert not sent[2].pop("content", None)
    function = {"name": "weather", "arguments": '{"city": "Bonn"}'}
    called = {"role": "assistant", "tool_calls": [{"id": "call_1", "type": "function", "function": function}]}
    assert sent == [system, *HI, called | {"reasoning_content": "x"}, tool]


def test_reasoning_comes_as_reasoning_content(client: OpenAI, upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer(delta(reasoning="Hm", content=None), delta(reasoning_content="m."), "Yes.")
    chunks = asked(client, reasoning_effort="low")
    thought = [getattr(chunk.choices[0].delta, "reasoning_content", None) or "" for chunk in chunks]
    assert ("".join(thought), text_of(chunks)) == ("Hmm.", "Yes.")
    message = client.chat.completions.create(model=MODEL, messages=HI).choices[0].message
    assert message.model_extra and message.model_extra["reasoning_content"] == "Hmm."
    assert upstream.requests[0].json["reasoning_effort"] == "low"


FIGURES = {
    "prompt_tokens": 8,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 4},
    "completion_tokens_details": {"reasoning_tokens": 3},
}


def test_usage_comes_last_and_only_if_asked_for(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=FIGURES)
    *chunks, last = asked(client, stream_options={"include_usage": True})
    assert last.choices == [] and last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (8, 5, 13)
    assert last.usage.prompt_tokens_details and last.usage.prompt_tokens_details.cached_tokens == 4
    assert last.usage.completion_tokens_details and last.usage.completion_tokens_details.reasoning_tokens == 3
    assert last.usage.model_extra and last.usage.model_extra["source"] == "provider"
    assert all(chunk.usage is None and "usage" in chunk.model_fields_set for chunk in chunks)
    upstream.answer("Hello", usage=FIGURES)
    assert not any("usage" in chunk.model_fields_set for chunk in asked(client))


def test_usage_of_an_answer_in_one_piece(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=FIGURES)
    usage = client.chat.completions.create(model=MODEL, messages=HI).usage
    assert usage and (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (8, 5, 13)


def test_usage_of_an_answer_that_fails_comes_before_the_error(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hello", Cut())
    chunks = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}
        ):
            chunks.append(chunk)
    usage = chunks[-1].usage
    assert usage and usage.model_extra and usage.model_extra["source"] == "estimated"


@pytest.mark.parametrize("mishap", [[Cut()], [{"error": {"message": "secret", "code": 500}}], []])
def test_error_in_the_middle_is_raised(client: OpenAI, upstream: Upstream, mishap: list[Any]) -> None:
    upstream.answer("Hel", *mishap, finish_reason=None)
    chunks = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in client.chat.completions.create(model=MODEL, messages=HI, stream=True):
            chunks.append(chunk)
    assert text_of(chunks) == "Hel"
    assert raised.value.code in ("upstream_cut", "upstream_failed") and raised.value.type == "server_error"
    assert isinstance(raised.value.body, dict) and raised.value.body["error_id"]
    assert "secret" not in str(raised.value.body)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("streamed", [True, False])
def test_error_before_the_first_word_is_an_honest_status(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    upstream.answer(status=429, headers={"Retry-After": "7"})
    with pytest.raises(openai.RateLimitError) as raised:
        client.with_options(max_retries=0).chat.completions.create(model=MODEL, messages=HI, stream=streamed)
    assert (raised.value.code, raised.value.type) == ("upstream_throttled", "rate_limit_error")
    assert raised.value.request_id
    assert raised.value.response.headers["retry-after"] == "7"
    assert raised.value.response.headers["x-should-retry"] == "true"


@pytest.mark.parametrize("streamed", [True, False])
def test_error_that_has_cost_nothing_is_retried(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    upstream.answer(status=503)
    upstream.answer("Hello")
    raw = client.chat.completions.with_raw_response
    answer: Any = raw.create(model=MODEL, messages=HI, stream=streamed)
    assert answer.retries_taken == 1
    assert "Hello" in (text_of(list(answer.parse())) if streamed else answer.text)


@pytest.mark.parametrize("streamed", [True, False])
def test_error_that_has_cost_money_is_not_retried(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    upstream.answer(Cut())
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=MODEL, messages=HI, stream=streamed)
    assert raised.value.response.headers["x-should-retry"] == "false"
    assert len(upstream.requests) == 1


def test_error_in_one_piece_is_an_http_status(client: OpenAI, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    with pytest.raises(openai.InternalServerError) as raised:
        client.chat.completions.create(model=MODEL, messages=HI)
    assert (raised.value.status_code, raised.value.code) == (502, "upstream_cut")
    kept = server.get(raised.value.response.headers["x-llm-stream-url"], Accept="application/json").json()
    assert kept["text"] == "Hel"
    assert len(upstream.requests) == 1


def test_error_names_the_parameter(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=MODEL, messages=HI, n=2)
    assert (raised.value.param, raised.value.type) == ("n", "invalid_request_error")
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-17", messages=HI)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")


def test_stop_closes_the_upstream(client: OpenAI, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
        chunks = [next(stream), next(stream)]
    assert text_of(chunks) == "Hel"
    assert upstream.requests[0].left.wait(SOON_S)
    assert server.record(chunks[0].id)["status"] == "abandoned"


def test_stop_by_somebody_else_is_raised(client: OpenAI, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
        next(stream)
        httpx2.delete(server.url + stream.response.headers["x-llm-stream-url"], timeout=PATIENCE_S)
        with pytest.raises(openai.APIError) as raised:
            list(stream)
    assert raised.value.code == "cancelled"


def test_resume_from_the_start_by_the_same_idempotency_key(client: OpenAI, upstream: Upstream) -> None:
    """In the middle the client cannot go on: it has no number of an event to go on from."""
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    key = {"Idempotency-Key": str(uuid.uuid4())}
    with client.chat.completions.create(model=MODEL, messages=HI, stream=True, extra_headers=key) as stream:
        assert text_of([next(stream), next(stream)]) == "Hel"
        gate.reached.wait(PATIENCE_S)
    resumed = client.chat.completions.create(model=MODEL, messages=HI, stream=True, extra_headers=key)
    gate.open()
    assert text_of(list(resumed)) == "Hello"
    again = client.chat.completions.create(model=MODEL, messages=HI, extra_headers=key)
    assert again.choices[0].message.content == "Hello"
    with pytest.raises(openai.ConflictError):
        client.chat.completions.create(model="other", messages=HI, extra_headers=key)
    assert len(upstream.requests) == 1


def test_resume_by_the_retries_of_the_client_itself(upstream: Upstream, serve: Callable[..., Server]) -> None:
    """A connection lost before the status: the client asks again, and with a key it attaches."""
    with (
        Proxy(serve(upstream).port) as proxy,
        OpenAI(base_url=f"{proxy.url}/llm/v1", api_key="x") as client,
        ThreadPoolExecutor() as threads,
    ):
        for streamed in (True, False):
            gate = Gate()
            upstream.answer(gate, "Hello")
            options: Any = {"stream": streamed, "extra_headers": {"Idempotency-Key": str(uuid.uuid4())}}
            create: Any = client.chat.completions.with_raw_response.create
            asking: Any = threads.submit(create, model=MODEL, messages=HI, **options)
            assert gate.reached.wait(PATIENCE_S)
            proxy.cut()
            gate.open()
            answer = asking.result()
            assert answer.retries_taken == 1
            assert "Hello" in (text_of(list(answer.parse())) if streamed else answer.text)
    assert len(upstream.requests) == 2


def test_resume_by_the_url_of_the_stream(client: OpenAI, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
        assert text_of([next(stream), next(stream)]) == "Hel"
        url = stream.response.headers["x-llm-stream-url"]
    with httpx2.stream("GET", server.url + url, timeout=PATIENCE_S) as rest:
        gate.open()
        assert "event: done" in rest.read().decode()
    assert server.get(url, Accept="application/json").json()["text"] == "Hello"
    assert len(upstream.requests) == 1


def test_models_are_listed(client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == [MODEL, "other"]
    assert client.models.retrieve(MODEL).id == MODEL
    with pytest.raises(openai.NotFoundError) as missing:
        client.models.retrieve("gpt-17")
    assert missing.value.code == "model_not_found"


def test_models_may_think_for_long_before_their_first_word(upstream: Upstream, serve: Callable[..., Server]) -> None:
    server = serve(upstream, status_hold_s=0.1, heartbeat_s=0.1, retries=0)
    gate = Gate()
    upstream.answer(gate, {"error": {"message": "x", "code": 500}}, finish_reason=None)
    with OpenAI(base_url=f"{server.url}/llm/v1", api_key="x") as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        assert next(stream).choices[0].delta.role == "assistant"
        eventually(gate.reached.is_set)
        gate.open()
        with pytest.raises(openai.APIError):
            list(stream)


# An agent


@pytest.fixture
def agent(searching: Here) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{searching.url}/llm/v1", api_key="x") as client:
        yield client


def extras(chunks: list[ChatCompletionChunk]) -> dict[str, Any]:
    """What the deltas have that OpenAI's have not."""
    found: dict[str, Any] = {}
    for chunk in chunks:
        for choice in chunk.choices:
            for extra in (choice.delta.model_extra or {}).get("llm_stream", []):
                found |= extra
    return found


def test_tool_results_are_extra_fields_and_the_call_is_not_the_clients(agent: OpenAI) -> None:
    chunks = asked(agent)
    result = {"id": "call_search", "name": "search", "result": ["x"]}
    assert extras(chunks)["tool_result"] == result
    assert not any(choice.delta.tool_calls for chunk in chunks for choice in chunk.choices)
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    assert text_of(chunks) == "Found."


def test_tool_results_of_a_whole_answer_are_extra_fields(agent: OpenAI) -> None:
    message = agent.chat.completions.create(model="scripted", messages=HI).choices[0].message
    assert message.content == "Found."
    assert message.tool_calls is None
    kinds = [kind for extra in (message.model_extra or {})["llm_stream"] for kind in extra if kind != "index"]
    assert set(kinds) == {"tool_call", "tool_result", "data", "step"}


def test_steps_are_extra_fields(agent: OpenAI) -> None:
    assert extras(asked(agent))["step"] == {"number": 2}


def test_sources_are_annotations(agent: OpenAI) -> None:
    found = [
        annotation
        for chunk in asked(agent)
        for choice in chunk.choices
        for annotation in (choice.delta.model_extra or {}).get("annotations", [])
    ]
    citation = {"url": "https://example.com/a", "title": "A", "start_index": 0, "end_index": 5}
    assert found == [{"index": 0, "type": "url_citation", "url_citation": citation}]


def test_data_is_an_extra_field(agent: OpenAI) -> None:
    assert extras(asked(agent))["data"] == {"name": "map", "data": {"zoom": 1}, "id": "m"}


@pytest.mark.parametrize(
    "state",
    [
        {"reasoning_content": "Hm."},
        {"reasoning": "Hm.", "reasoning_details": [{"type": "reasoning.encrypted", "data": "A+/="}]},
        {"extra_content": {"google": {"thought_signature": "é+/="}}},
    ],
)
def test_tools_bring_back_what_the_provider_wants(client: OpenAI, upstream: Upstream, state: dict[str, Any]) -> None:
    called = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [called | {"extra_content": {"a": 1}}]} | state
    upstream.answer("Fine.")
    asked(client, messages=[*HI, message, {"role": "tool", "tool_call_id": "c", "content": "7"}], tools=[WEATHER])
    sent = upstream.requests[-1].json["messages"][1]
    assert {name: sent[name] for name in state} == state
    assert sent["tool_calls"][0]["extra_content"] == {"a": 1}
