"""The stock OpenAI client for Python asks `/v1` for objects: `parse()`, `stream()`, and their asynchronous twins."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI
from openai import OpenAI
from pydantic import BaseModel
from pydantic import ValidationError

from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..calling import fragment
from ..here import Here

HI: Any = [{"role": "user", "content": "hi"}]


class Item(BaseModel):
    name: str
    price: float


class Invoice(BaseModel):
    number: int
    items: list[Item]


INVOICE = Invoice(number=12, items=[Item(name="tea", price=2.5)])
WRITTEN = INVOICE.model_dump_json()
PIECES = [WRITTEN[at : at + 4] for at in range(0, len(WRITTEN), 4)]


@pytest.fixture
def url(upstream: Upstream) -> Iterator[str]:
    here = Here(upstream)
    yield f"{here.url}/llm/v1"
    here.close()


@pytest.fixture
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=url, api_key="sk-of-a-caller") as client:
        yield client


def test_parse(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    completion = client.chat.completions.parse(model="scripted", messages=HI, response_format=Invoice)
    assert completion.choices[0].message.parsed == INVOICE
    form = upstream.requests[0].json["response_format"]
    assert (form["json_schema"]["name"], form["json_schema"]["strict"]) == ("Invoice", True)
    assert form["json_schema"]["schema"]["required"] == ["number", "items"]


def test_parse_of_what_does_not_fit_is_the_clients_own_error(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer('{"number": "many"}')
    with pytest.raises(ValidationError):
        client.chat.completions.parse(model="scripted", messages=HI, response_format=Invoice)


def test_parse_of_a_refusal(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(fragment({"refusal": "I will not."}))
    message = client.chat.completions.parse(model="scripted", messages=HI, response_format=Invoice).choices[0].message
    assert (message.parsed, message.refusal) == (None, "I will not.")


def test_parse_of_what_its_length_cuts_off(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(*PIECES[:4], finish_reason="length")
    with pytest.raises(openai.LengthFinishReasonError):
        client.chat.completions.parse(model="scripted", messages=HI, response_format=Invoice)


def test_parse_with_a_strict_tool(client: OpenAI, upstream: Upstream) -> None:
    tool = openai.pydantic_function_tool(Item)
    calling(upstream, call("Item", name="tea", price=2.5))
    message = client.chat.completions.parse(model="scripted", messages=HI, tools=[tool]).choices[0].message
    assert message.tool_calls and message.tool_calls[0].function.parsed_arguments == INVOICE.items[0]
    assert upstream.requests[0].json["tools"][0]["function"]["strict"] is True


def test_stream(client: OpenAI, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    partials: list[Any] = []
    with client.chat.completions.stream(model="scripted", messages=HI, response_format=Invoice) as stream:
        for event in stream:
            if event.type == "content.delta":
                partials.append(json.loads(json.dumps(event.parsed)))
            elif event.type == "content.done":
                assert event.parsed == INVOICE
        assert stream.get_final_completion().choices[0].message.parsed == INVOICE
    assert partials[-1] == json.loads(WRITTEN) and len(partials) > 5


def test_stream_and_parse_with_the_async_client(url: str, upstream: Upstream) -> None:
    async def ask() -> list[Invoice | None]:
        async with AsyncOpenAI(base_url=url, api_key="sk-of-a-caller") as client:
            completions = client.chat.completions
            parsed = await completions.parse(model="scripted", messages=HI, response_format=Invoice)
            async with completions.stream(model="scripted", messages=HI, response_format=Invoice) as stream:
                final = await stream.get_final_completion()
        return [each.choices[0].message.parsed for each in (parsed, final)]

    for _ in range(2):
        upstream.answer(*PIECES)
    assert asyncio.run(ask()) == [INVOICE, INVOICE]


def test_form_that_is_wrong_is_a_bad_request_that_names_it(client: OpenAI) -> None:
    form: Any = {"type": "json_schema", "json_schema": {"name": "my invoice", "schema": {}}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="scripted", messages=HI, response_format=form)
    assert caught.value.param == "response_format.json_schema.name"
