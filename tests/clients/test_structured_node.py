"""Clients for Node that ask `/v1` for objects: the stock OpenAI client with zod, and the AI SDK with both providers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Upstream

from ..calling import fragment
from ..here import Here
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder

PACKAGES = [
    "openai@7.57.0",
    "ai@7.0.173",
    "@ai-sdk/openai@4.0.118",
    "@ai-sdk/openai-compatible@3.0.92",
    "zod@4.6.7",
]
PROVIDERS = ("openai", "compatible")

INVOICE = {"number": 12, "items": [{"name": "tea", "price": 2.5}, {"name": "mugs", "price": 7}]}
WRITTEN = json.dumps(INVOICE)
PIECES = [WRITTEN[at : at + 4] for at in range(0, len(WRITTEN), 4)]


@pytest.fixture(scope="module")
def node() -> Iterator[Node]:
    node = Node(node_folder("structured", PACKAGES), SCRIPTS / "structured.mjs")
    yield node
    node.close()


@pytest.fixture
def url(upstream: Upstream) -> Iterator[str]:
    here = Here(upstream)
    yield here.url
    here.close()


def form_asked_for(upstream: Upstream) -> dict[str, Any]:
    form: dict[str, Any] = upstream.requests[0].json["response_format"]
    assert form["type"] == "json_schema"
    assert sorted(form["json_schema"]["schema"]["required"]) == ["items", "number"]
    return form


def test_parse_of_the_openai_client(node: Node, url: str, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    assert node("parse", url=url) == {"parsed": INVOICE, "refusal": None}
    assert form_asked_for(upstream)["json_schema"]["strict"] is True


def test_parse_of_a_refusal(node: Node, url: str, upstream: Upstream) -> None:
    upstream.answer(fragment({"refusal": "No."}))
    assert node("parse", url=url) == {"parsed": None, "refusal": "No."}


def test_stream_of_the_openai_client(node: Node, url: str, upstream: Upstream) -> None:
    upstream.answer(*PIECES)
    answer = node("stream", url=url)
    assert answer["parsed"] == INVOICE
    assert {"number": 12} in answer["partials"] and answer["partials"][-1] == INVOICE


@pytest.mark.parametrize("provider", PROVIDERS)
def test_generate_object(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer(*PIECES)
    assert node("generateObject", url=url, provider=provider) == {"object": INVOICE, "outputTokens": len(PIECES)}
    assert form_asked_for(upstream)["json_schema"]["name"] == "invoice"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_generate_object_that_does_not_fit(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer('{"number": "many"}')
    error = node("generateObject", url=url, provider=provider)["error"]
    assert error == {"name": "AI_NoObjectGeneratedError", "text": '{"number": "many"}', "reason": "stop"}


@pytest.mark.parametrize("provider", PROVIDERS)
def test_generate_text_with_an_object_as_its_output(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer(*PIECES)
    assert node("generateText", url=url, provider=provider) == {"object": INVOICE}
    form_asked_for(upstream)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream_object(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer(*PIECES)
    answer = node("streamObject", url=url, provider=provider)
    assert (answer["object"], answer["reason"]) == (INVOICE, "stop")
    assert len(answer["partials"]) > 2 and answer["partials"][-1] == INVOICE
    form_asked_for(upstream)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream_object_that_is_cut_off_by_its_length(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer(*PIECES[:-8], finish_reason="length")
    answer = node("streamObject", url=url, provider=provider)
    assert answer["reason"] == "length"
    assert answer["partials"][-1]["number"] == 12
    assert answer["error"]["name"] == "AI_NoObjectGeneratedError"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_stream_of_a_list(node: Node, url: str, upstream: Upstream, provider: str) -> None:
    upstream.answer('{"elements": [{"name": "tea"},', ' {"name": "mugs"}]}')
    assert node("streamList", url=url, provider=provider) == [{"name": "tea"}, {"name": "mugs"}]
