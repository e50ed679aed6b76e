"""The stock OpenAI client for Python asks by the Responses API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai import OpenAI
from openai.types.responses import Response
from pydantic import BaseModel

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import SOON_S
from ..conftest import Server
from ..conftest import eventually
from .scripts import chunk
from .scripts import reasoning
from .turns import MODEL
from .turns import SETTINGS as SETTINGS
from .turns import calls_and_says
from .turns import says
from .turns import sent_back
from .turns import was_asked_once

WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": None,
}


class Weather(BaseModel):
    degrees: int


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[OpenAI]:
    with client_at(server.url) as client:
        yield client


def client_at(url: str) -> OpenAI:
    return OpenAI(base_url=f"{url}/llm/v1", api_key="sk-of-a-caller")


def asked(client: OpenAI, **options: Any) -> Any:
    return client.responses.create(**{"model": MODEL, "input": "hi"} | options)


def text_of(events: list[Any]) -> str:
    return "".join(event.delta for event in events if event.type == "response.output_text.delta")


def check_usage(response: Response) -> None:
    usage = response.usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (100, 20, 120)
    assert usage.input_tokens_details.cached_tokens == 40
    assert usage.output_tokens_details.reasoning_tokens == 5


def test_responses_create(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    response = asked(client, instructions="Be brief.", max_output_tokens=50, temperature=0.5, metadata={"a": "b"})
    assert (response.output_text, response.status, response.model) == ("Hello", "completed", MODEL)
    assert (response.instructions, response.temperature, response.metadata) == ("Be brief.", 0.5, {"a": "b"})
    check_usage(response)
    was_asked_once(upstream)
    sent = upstream.requests[0].json
    assert [message["content"] for message in sent["messages"]] == ["Be brief.", "hi"]
    assert sent["temperature"] == 0.5 and 50 in (sent.get("max_tokens"), sent.get("max_completion_tokens"))


def test_responses_create_stream(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo\r\n", "🙂\u2028")
    events = list(asked(client, stream=True))
    assert text_of(events) == events[-1].response.output_text == "Hello\r\n🙂\u2028"
    check_usage(events[-1].response)
    was_asked_once(upstream)


def test_responses_stream_helper(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    with client.responses.stream(model=MODEL, input="hi") as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        assert snapshots == ["Hel", "Hello"]
        assert stream.get_final_response().output_text == "Hello"


def test_responses_with_the_async_client(server: Server, upstream: Upstream) -> None:
    async def ask() -> str:
        async with AsyncOpenAI(base_url=f"{server.url}/llm/v1", api_key="x") as client:
            stream = await client.responses.create(model=MODEL, input="hi", stream=True)
            return text_of([event async for event in stream])

    says(upstream, "Hel", "lo")
    assert asyncio.run(ask()) == "Hello"


def test_responses_parse(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, '{"degrees"', ": 7}")
    response = client.responses.parse(model=MODEL, input="hi", text_format=Weather)
    assert response.output_parsed == Weather(degrees=7)
    assert upstream.requests[0].json["response_format"]["json_schema"]["name"] == "Weather"


def test_responses_parse_of_a_stream(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, '{"degrees"', ": 7}")
    with client.responses.stream(model=MODEL, input="hi", text_format=Weather) as stream:
        assert stream.get_final_response().output_parsed == Weather(degrees=7)


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_tools_all_the_way_round(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    calls_and_says(upstream)
    question: Any = {"role": "user", "content": "hi"}
    first = asked(client, input=[question], tools=[WEATHER], stream=streamed)
    response = list(first)[-1].response if streamed else first
    (call,) = response.output
    assert (call.type, call.name, call.arguments) == ("function_call", "weather", '{"city": "Bonn"}')
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7 degrees"}
    assert asked(client, input=[question, call, result], tools=[WEATHER]).output_text == "7 degrees."
    sent_back(upstream)


def test_responses_tools_by_the_previous_response(client: OpenAI, upstream: Upstream) -> None:
    calls_and_says(upstream)
    first = asked(client, tools=[WEATHER])
    result = {"type": "function_call_output", "call_id": first.output[0].call_id, "output": "7 degrees"}
    second = asked(client, input=[result], tools=[WEATHER], previous_response_id=first.id)
    assert second.output_text == "7 degrees."
    sent_back(upstream)


def test_responses_reasoning(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(reasoning("Hm, "), reasoning("well."), "Yes.")
    events = list(asked(client, stream=True, reasoning={"effort": "low", "summary": "auto"}))
    summary = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    assert "".join(summary) == events[-1].response.output[0].summary[0].text == "Hm, well."
    assert text_of(events) == "Yes."
    assert upstream.requests[0].json["reasoning_effort"] == "low"


def test_responses_refusal(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(chunk(refusal="I will "), chunk(refusal="not."))
    (item,) = asked(client).output
    assert item.content[0].refusal == "I will not."


def test_responses_previous_response_id(client: OpenAI, upstream: Upstream) -> None:
    for text in ("One.", "Two.", "Three."):
        says(upstream, text)
    first = asked(client, input="1", instructions="Count.")
    second = asked(client, input="2", previous_response_id=first.id)
    assert asked(client, input="3", previous_response_id=second.id).output_text == "Three."
    sent = [(message["role"], message["content"]) for message in upstream.requests[-1].json["messages"]]
    said = [("user", "1"), ("assistant", "One."), ("user", "2"), ("assistant", "Two."), ("user", "3")]
    assert sent == said  # instructions are not carried over


def test_responses_previous_response_that_is_not_there(client: OpenAI, upstream: Upstream) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        asked(client, previous_response_id="resp_00000000000000000000")
    assert caught.value.param == "previous_response_id"
    assert not upstream.requests


def test_responses_retrieve(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hello")
    response = asked(client)
    assert client.responses.retrieve(response.id) == response
    was_asked_once(upstream)


def test_responses_retrieve_stream(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    events = list(asked(client, stream=True))
    for after in range(len(events)):
        number = events[after].sequence_number
        again = list(client.responses.retrieve(events[0].response.id, stream=True, starting_after=number))
        assert again == events[after + 1 :]
    assert list(client.responses.retrieve(events[0].response.id, stream=True)) == events
    was_asked_once(upstream)


def test_responses_retrieve_with_the_stream_helper(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    first = asked(client, background=True)
    with client.responses.stream(response_id=first.id, starting_after=2) as stream:
        assert stream.get_final_response().output_text == "Hello"
    was_asked_once(upstream)


def test_responses_background_and_polling(client: OpenAI, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    response = asked(client, background=True)
    assert response.status in ("queued", "in_progress") and response.background is True
    eventually(lambda: client.responses.retrieve(response.id).status == "in_progress")
    gate.open()
    eventually(lambda: client.responses.retrieve(response.id).status == "completed")
    assert client.responses.retrieve(response.id).output_text == "Hello"
    was_asked_once(upstream)


def test_responses_background_outlives_its_readers(client: OpenAI, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    stream = asked(client, background=True, stream=True)
    id = next(iter(stream)).response.id
    stream.close()
    assert not upstream.request(0).left.wait(2)  # the grace is half a second
    gate.open()
    eventually(lambda: client.responses.retrieve(id).status == "completed")
    assert client.responses.retrieve(id).output_text == "Hello"


def test_responses_cancel(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    response = asked(client, background=True)
    asked_upstream = upstream.request(0)
    eventually(lambda: client.responses.retrieve(response.id).output_text == "Hel")
    assert client.responses.cancel(response.id).status == "cancelled"
    assert asked_upstream.left.wait(SOON_S)
    assert client.responses.retrieve(response.id).status == "cancelled"
    assert client.responses.cancel(response.id).status == "cancelled"  # twice does no harm


def test_responses_delete(client: OpenAI, upstream: Upstream) -> None:
    says(upstream, "Hello")
    response = asked(client)
    client.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(response.id)
    with pytest.raises(openai.BadRequestError):
        asked(client, previous_response_id=response.id)


def test_responses_incomplete(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", finish_reason="length")
    response = asked(client)
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "max_output_tokens")


def test_responses_failed(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    last = list(asked(client, stream=True))[-1]
    assert (last.type, last.response.status) == ("response.failed", "failed")
    assert last.response.error.message


@pytest.mark.parametrize("streamed", [False, True])
def test_responses_error(client: OpenAI, upstream: Upstream, streamed: bool) -> None:
    upstream.answer(status=400)
    with pytest.raises(openai.BadRequestError):
        asked(client, stream=streamed)
    was_asked_once(upstream)
