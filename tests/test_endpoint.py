"""Requests to the upstream: the SDK's, whether it builds them or its head is used again."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import openai
import pytest
from openai import OpenAI

from llm_stream.testing import Asked
from llm_stream.testing import Script
from llm_stream.testing import Upstream
from llm_stream.upstream.client import Client
from llm_stream.upstream.endpoint import Endpoint
from llm_stream.upstream.refusals import describe
from llm_stream.upstream.refusals import translate

EndpointOf = Callable[[OpenAI], Endpoint]

BODY = {"model": "m", "messages": [{"role": "user", "content": "Ünicode \u2028 \U0001f600"}], "stream": True}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream(lambda _: Script(["Hi"])) as upstream:
        yield upstream


@pytest.fixture
def endpoint_of() -> Iterator[EndpointOf]:
    with ExitStack() as stack:

        def make(client: OpenAI) -> Endpoint:
            made = Client(client)
            stack.callback(made.close)
            stack.callback(client.close)
            return made.endpoint()

        yield make


def read(endpoint: Endpoint, body: Any = BODY) -> bytes:
    response = endpoint.post(body)
    assert isinstance(response.stream, httpx2.SyncByteStream)
    return b"".join(response.stream)


def header(asked: Asked, name: str) -> str:
    return httpx2.Headers(asked.headers)[name]


def sent(asked: Asked) -> tuple[str, httpx2.Headers, Any]:
    headers = httpx2.Headers(asked.headers)
    del headers["Content-Length"]
    return asked.path, headers, asked.json


def test_request_is_the_sdks_whether_it_builds_it_or_not(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    client = OpenAI(
        base_url=upstream.base_url,
        api_key="secret",
        organization="o",
        default_headers={"X-Mine": "yes"},
        default_query={"api-version": "1"},
    )
    endpoint = endpoint_of(client)
    for _ in range(4):
        assert read(endpoint).endswith(b"data: [DONE]\n\n")
    first, *others = map(sent, upstream.requests)
    assert others == [first] * 3
    assert first[1]["Authorization"] == "Bearer secret"
    assert (first[1]["X-Mine"], first[0]) == ("yes", "/v1/chat/completions?api-version=1")
    assert endpoint._proven is not None


@pytest.mark.parametrize("before", [0, 3])
@pytest.mark.parametrize(
    ("status", "headers", "error"),
    [
        (400, {"x-request-id": "r"}, {"message": "no", "code": "context_length_exceeded", "type": "t", "param": "p"}),
        (429, {"Retry-After": "3"}, {"message": "no", "code": "insufficient_quota"}),
        (429, {"Retry-After": "3"}, {"message": "no"}),
        (500, {}, "broken"),
        (503, {}, None),
        (401, {}, {"message": "no", "type": "authentication_error"}),
    ],
)
def test_refusals_are_the_same(
    upstream: Upstream, endpoint_of: EndpointOf, before: int, status: int, headers: dict[str, str], error: object
) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    body = b"<html>" if error is None else json.dumps({"error": error}).encode()
    for _ in range(before):
        read(endpoint)
    for _ in range(2):
        upstream.answer(status=status, headers=headers, body=body)
    with pytest.raises(openai.APIStatusError) as refused:
        endpoint.post(BODY)
    with (
        OpenAI(base_url=upstream.base_url, api_key="x", max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as by_sdk,
    ):
        client.post("/chat/completions", cast_to=object)
    ours, theirs = translate(refused.value), translate(by_sdk.value)
    assert (type(ours), ours.retry_after) == (type(theirs), theirs.retry_after)
    assert describe(refused.value) == describe(by_sdk.value)


@pytest.mark.parametrize("before", [0, 3])
def test_context_that_is_too_long_is_known_by_the_type_beside_a_number(
    upstream: Upstream, endpoint_of: EndpointOf, before: int
) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for _ in range(before):
        read(endpoint)
    error = {"code": 400, "message": "no", "type": "exceed_context_size_error"}  # llama.cpp's
    upstream.answer(status=400, body=json.dumps({"error": error}).encode())
    with pytest.raises(openai.APIStatusError) as refused:
        endpoint.post(BODY)
    assert translate(refused.value).code == "context_too_long"


def test_key_that_changes_is_asked_for_each_time(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    keys = iter("abcd")
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key=lambda: next(keys)))
    for _ in range(4):
        read(endpoint)
    assert [header(asked, "Authorization") for asked in upstream.requests] == [f"Bearer {key}" for key in "abcd"]


def test_refused_key_is_left_to_the_sdk(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for _ in range(3):
        read(endpoint)
    upstream.answer(status=401)
    with pytest.raises(openai.APIStatusError):
        endpoint.post(BODY)
    assert len(upstream.requests) == 4
    assert endpoint._proven is None


def test_redirect_is_followed_later_too(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for _ in range(3):
        read(endpoint)
    for _ in range(2):
        upstream.answer(status=307, headers={"Location": f"{upstream.base_url}/elsewhere"}, body=b"")
    assert read(endpoint).endswith(b"data: [DONE]\n\n")
    assert upstream.requests[-1].path == "/v1/elsewhere"
    assert upstream.requests[-1].json == BODY


def test_client_that_signs_each_request_signs_each(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    class Signing(OpenAI):
        def _prepare_request(self, request: Any) -> None:
            request.headers["X-Signature"] = str(len(request.content))

    endpoint = endpoint_of(Signing(base_url=upstream.base_url, api_key="x"))
    for length in range(4):
        read(endpoint, BODY | {"user": "x" * length})
    signed = [header(asked, "X-Signature") for asked in upstream.requests]
    assert signed == [header(asked, "Content-Length") for asked in upstream.requests]
    assert len(set(signed)) == 4


def test_types_that_only_the_sdk_knows_are_sent(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    from openai.types.chat import ChatCompletionMessage

    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for _ in range(3):
        read(endpoint)
    read(endpoint, {**BODY, "messages": [ChatCompletionMessage(role="assistant", content="hi")]})
    assert upstream.requests[-1].json["messages"][0]["content"] == "hi"


def test_own_http_client_sees_every_request(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    seen: list[httpx2.Request] = []
    with httpx2.Client(event_hooks={"request": [seen.append]}) as http_client:
        endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x", http_client=http_client))
        for _ in range(4):
            read(endpoint)
    assert len(seen) == len(upstream.requests) == 4


def test_cookies_are_kept_and_sent_as_by_the_sdk(upstream: Upstream, endpoint_of: EndpointOf) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for number in range(8):
        upstream.answer("Hi", headers={"Set-Cookie": f"turn={number}"} if number in (3, 5) else {})
        read(endpoint)
    cookies = [httpx2.Headers(asked.headers).get("cookie") for asked in upstream.requests]
    assert cookies == [None, None, None, None, "turn=3", "turn=3", "turn=5", "turn=5"]


@pytest.mark.parametrize("value", [float("nan"), b"bytes", {"a", "set"}])
def test_what_the_sdk_refuses_is_refused_always(upstream: Upstream, endpoint_of: EndpointOf, value: object) -> None:
    endpoint = endpoint_of(OpenAI(base_url=upstream.base_url, api_key="x"))
    for _ in range(3):
        read(endpoint)
    with pytest.raises((TypeError, ValueError)):
        endpoint.post({**BODY, "user": value})
    assert len(upstream.requests) == 3


def test_another_key_of_the_operators_client_is_used(upstream: Upstream) -> None:
    client = OpenAI(base_url=upstream.base_url, api_key="old")
    ours = Client(client)
    for _ in range(3):
        read(ours.endpoint())
    client.api_key = "new"
    read(ours.endpoint())
    assert header(upstream.requests[-1], "authorization") == "Bearer new"
    ours.close()
    client.close()
