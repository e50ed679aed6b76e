"""Whose figures a record holds, bounded how, at what price."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from llm_stream import Usage
from llm_stream import UsageRecord
from llm_stream.settings import Price
from llm_stream.testing import Cut
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.usage import tokenizer
from llm_stream.usage.price import cost_of
from llm_stream.usage.record import money

from .conftest import SOON_S
from .conftest import Event
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of

MakeApp = Callable[..., Flask]

PRICES = {"scripted": {"input": "14", "output": "58", "cached": "7", "currency": "INR"}}


def ask(app: Flask) -> tuple[list[Event], UsageRecord]:
    records = app.extensions["records"]
    before = len(records)
    events = read_events(app.test_client().get("/llm/chat?prompt=hi").data)
    assert len(records) == before + 1
    return events, records[-1]


def chunk(content: str, **usage: int) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": None}], "usage": usage}


def test_providers_figures_and_the_operators_prices(make_app: MakeApp, upstream: Upstream) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 400}, "completion_tokens_details": {"reasoning_tokens": 50}}
    upstream.answer("Hi", usage={"prompt_tokens": 1000, "completion_tokens": 200} | details)
    events, record = ask(make_app(prices=PRICES))
    # 600 × 14 + 400 × 7 + 200 × 58, per million
    assert record.cost == Decimal("0.0228")
    assert of_kind(events, "usage") == {
        "input_tokens": 1000,
        "output_tokens": 200,
        "cached_tokens": 400,
        "reasoning_tokens": 50,
        "source": "provider",
        "cost": "0.0228",
        "currency": "INR",
    }
    assert (record.currency, record.price_source) == ("INR", "LLM_STREAM_PRICES")
    assert (record.owner, record.model, record.upstream_model) == ("127.0.0.1", "scripted", "scripted")
    assert record.ttft_s is not None and 0 < record.ttft_s <= record.duration_s
    assert record.started < record.ended and record.started.tzinfo is not None
    assert "cost=₹0.0228" in str(record)


def test_figures_from_before_the_end_are_partial(make_app: MakeApp, upstream: Upstream) -> None:
    first = chunk("a", prompt_tokens=5, completion_tokens=1)
    upstream.answer(first, chunk("b", prompt_tokens=5, completion_tokens=2), Pause(0.1), Cut())
    events, record = ask(make_app(prices=PRICES))
    assert (record.source, record.input_tokens, record.output_tokens) == ("partial", 5, 2)
    assert record.cost == (5 * Decimal(14) + 2 * Decimal(58)) / 1_000_000
    assert of_kind(events, "usage")["source"] == "partial"


def test_usage_on_every_chunk_is_not_added_up(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(*[chunk("x", prompt_tokens=5, completion_tokens=n) for n in range(1, 9)], usage=False)
    _, record = ask(make_app())
    assert (record.source, record.output_tokens) == ("provider", 8)


def test_whole_answer_without_figures_is_estimated(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("The quick brown fox ", "jumps over the lazy dog.", usage=False)
    _, record = ask(make_app(prices=PRICES))
    assert (record.status, record.source) == ("completed", "estimated")
    assert (record.input_tokens, record.output_tokens) == (8, 10)
    assert record.cost == (8 * Decimal(14) + 10 * Decimal(58)) / 1_000_000


def test_estimate_never_exceeds_the_requests_maximum(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("word " * 500, usage=False)
    _, record = ask(make_app(max_output_tokens=100))
    assert (record.source, record.output_tokens) == ("estimated", 100)


def test_refusal_costs_nothing_and_claims_no_figures(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(status=400)
    _, record = ask(make_app(prices=PRICES))
    assert (record.source, record.input_tokens, record.output_tokens, record.cost) == ("none", None, None, None)
    assert "in=unknown out=unknown tokens=none cost=unknown" in str(record)


def test_providers_own_cost_comes_first(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hi", usage={"prompt_tokens": 10, "completion_tokens": 2, "cost": 0.00095})
    _, record = ask(make_app(prices=PRICES))
    assert (record.cost, record.currency, record.price_source) == (Decimal("0.00095"), "USD", "provider")


def test_model_without_a_price_has_an_unknown_cost(make_app: MakeApp, upstream: Upstream) -> None:
    events, record = ask(make_app())
    assert (record.cost, record.currency, record.price_source) == (None, None, None)
    assert "cost" not in of_kind(events, "usage")


def test_hook_that_raises_keeps_nobody_else_from_the_record(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()
    llm: Any = app.blueprints["llm"]
    llm._hooks.on_usage.insert(0, lambda record: 1 / 0)
    upstream.answer("Hello")
    events, record = ask(app)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert "ZeroDivisionError" in caplog.text and f"stream={record.id} status=completed" in caplog.text


def test_fallback_model_takes_over_and_is_paid_at_its_own_price(make_app: MakeApp, upstream: Upstream) -> None:
    prices = {"scripted": {"input": "1000", "output": "1000"}, "cheap": {"input": "1", "output": "1"}}
    app = make_app(fallback_models=["broken", "cheap"], retries=0, prices=prices)
    for status in (503, 404):
        upstream.answer(status=status)
    upstream.answer("Hello")
    events, record = ask(app)
    assert text_of(events) == "Hello"
    assert [asked.json["model"] for asked in upstream.requests] == ["scripted", "broken", "cheap"]
    assert (record.model, record.upstream_model) == ("scripted", "cheap")
    assert record.cost == Decimal(2) / 1_000_000


def test_request_that_no_model_would_accept_is_not_offered_to_another(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(status=400)
    events, _ = ask(make_app(fallback_models=["other"]))
    assert of_kind(events, "failure")["code"] == "upstream_rejected"
    assert len(upstream.requests) == 1


def test_after_content_there_is_no_silent_retry(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hel", Pause(0.1), Cut())
    events, _ = ask(make_app(fallback_models=["other"]))
    assert kinds_of(events) == ["start", "delta", "failure", "usage", "done"]
    assert len(upstream.requests) == 1


def test_retry_after_content_voids_the_text_and_pays_for_both(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("void words", Pause(0.1), Cut())
    upstream.answer("Hel", "lo", usage={"prompt_tokens": 8, "completion_tokens": 2})
    events, record = ask(make_app(retry_after_content=True))
    assert [(kind, data.get("text", data.get("reason"))) for _, kind, data in events[1:5]] == [
        ("delta", "void words"),
        ("reset", "upstream_cut"),
        ("delta", "Hel"),
        ("delta", "lo"),
    ]
    assert of_kind(events, "done")["status"] == "completed"
    assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 16, 4)


def test_retry_after_content_is_made_once(make_app: MakeApp, upstream: Upstream) -> None:
    for _ in range(2):
        upstream.answer("Hel", Pause(0.1), Cut())
    events, _ = ask(make_app(retry_after_content=True))
    assert kinds_of(events) == ["start", "delta", "reset", "delta", "failure", "usage", "done"]
    assert len(upstream.requests) == 2


def test_connection_broken_before_content_is_made_again(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(Cut())
    upstream.answer("Hello")
    events, _ = ask(make_app())
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert len(upstream.requests) == 2


def test_each_accepted_attempt_is_paid_for(make_app: MakeApp, upstream: Upstream) -> None:
    """Two calls broke before content, and the third answered: the provider charges for all of them."""
    upstream.answer(Cut())
    upstream.answer(Cut(reset=False))
    upstream.answer("Hello", usage={"prompt_tokens": 7, "completion_tokens": 1})
    events, record = ask(make_app(prices=PRICES))
    assert of_kind(events, "done")["status"] == "completed"
    assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 21, 1)
    assert record.cost == (21 * Decimal(14) + Decimal(58)) / 1_000_000
    assert of_kind(events, "usage")["input_tokens"] == 21


def test_refused_attempts_are_not_paid_for(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(status=503)
    upstream.answer(status=429)
    upstream.answer("Hello", usage={"prompt_tokens": 7, "completion_tokens": 1})
    _, record = ask(make_app())
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 7, 1)


def test_attempts_that_all_broke_are_paid_for(make_app: MakeApp, upstream: Upstream) -> None:
    for _ in range(3):
        upstream.answer(Cut())
    events, record = ask(make_app(retries=2))
    assert of_kind(events, "failure")["code"] == "upstream_cut"
    assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 3 * 8, 0)


def test_attempt_that_broke_keeps_its_own_figures(make_app: MakeApp, upstream: Upstream) -> None:
    first = {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 0, "cost": 0.25}}
    upstream.answer(first, Pause(0.1), Cut())
    upstream.answer("Hello", usage={"prompt_tokens": 7, "completion_tokens": 1, "cost": 0.5})
    _, record = ask(make_app())
    assert (record.source, record.input_tokens, record.output_tokens) == ("partial", 12, 1)
    assert (record.cost, record.currency, record.price_source) == (Decimal("0.75"), "USD", "provider")


def test_attempts_of_several_models_have_each_its_own_price(make_app: MakeApp, upstream: Upstream) -> None:
    prices = {"scripted": {"input": "1000", "output": "1000"}, "cheap": {"input": "1", "output": "1"}}
    upstream.answer(Cut())
    upstream.answer("Hello", usage={"prompt_tokens": 7, "completion_tokens": 1})
    _, record = ask(make_app(fallback_models=["cheap"], retries=0, prices=prices))
    assert record.upstream_model == "cheap"
    assert record.cost == (7 * Decimal(1000) + 7 + 1) / 1_000_000


def test_cost_in_two_currencies_is_unknown(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(Cut())
    upstream.answer("Hello", usage={"prompt_tokens": 7, "completion_tokens": 1, "cost": 0.5})
    _, record = ask(make_app(prices=PRICES))
    assert (record.input_tokens, record.cost, record.currency) == (14, None, None)


def test_retries_can_be_turned_off(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(status=503)
    events, _ = ask(make_app(retries=0))
    assert of_kind(events, "failure")["code"] == "upstream_failed"
    assert len(upstream.requests) == 1


def test_stop_while_waiting_for_a_retry_is_immediate(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer(status=429, headers={"Retry-After": "3"})
    client = app.test_client()
    url = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    assert upstream.requests or upstream.open >= 0
    client.delete(url)
    events = read_events(client.get(url).data)
    assert of_kind(events, "done")["status"] == "cancelled"
    assert app.extensions["records"][0].duration_s < 2


def test_server_that_does_not_stream_is_understood(make_app: MakeApp, upstream: Upstream) -> None:
    body = (
        b'{"choices": [{"message": {"content": "Hello"}, "finish_reason": "stop"}],'
        b' "usage": {"prompt_tokens": 3, "completion_tokens": 1}}'
    )
    upstream.answer(body=body)
    events, record = ask(make_app())
    assert text_of(events) == "Hello"
    assert (record.status, record.source) == ("completed", "provider")
    upstream.answer(body=b'{"error": {"message": "PROVIDER WORDS", "code": 401}}')
    events, record = ask(make_app())
    assert of_kind(events, "failure")["code"] == "upstream_refused"
    upstream.answer(body=b"", headers={"Content-Type": "text/event-stream"})
    events, record = ask(make_app())
    assert of_kind(events, "failure")["code"] == "upstream_cut"


def test_conversation_that_is_too_long_is_said_to_be(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(status=400, body=b'{"error": {"message": "x", "code": "context_length_exceeded"}}')
    response = make_app().test_client().post("/llm/chat", json={"prompt": "hi"})
    assert (response.status_code, response.json["error"]["code"]) == (400, "context_too_long")


def test_clients_own_timeout_is_kept(make_app: MakeApp, upstream: Upstream) -> None:
    from openai import OpenAI

    from llm_stream import LLMStream

    client = OpenAI(base_url=upstream.base_url, api_key="x", timeout=0.3)
    upstream.answer("Hello", Stall())
    events, record = ask(make_app(LLMStream("llm", __name__, model="scripted", client=client)))
    assert of_kind(events, "failure")["code"] == "upstream_timeout"
    assert record.status == "timed_out"


def test_users_own_http_client_wins(make_app: MakeApp, upstream: Upstream) -> None:
    import httpx2
    from openai import OpenAI

    from llm_stream import LLMStream

    with httpx2.Client(headers={"X-Mine": "yes"}) as http_client:
        client = OpenAI(base_url=upstream.base_url, api_key="x", http_client=http_client)
        app = make_app(LLMStream("llm", __name__, model="scripted", client=client))
        ask(app)
        assert upstream.request(0).headers["X-Mine"] == "yes"
        upstream.answer(Stall(before_headers=True))
        browser = app.test_client()
        url = browser.post("/llm/streams", json={"prompt": "hi"}).json["url"]
        while len(upstream.requests) < 2:
            pass
        browser.delete(url)
        assert upstream.request(1).left.wait(SOON_S)


def priced(usage: Usage, *models: str, base_url: str | None = None, **prices: Price) -> Any:
    return cost_of(usage, models, prices, base_url)


def test_public_prices_are_found_by_the_gateways_way_of_naming_models() -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=1_000_000)
    for names in (("gpt-4o-mini",), ("openai/gpt-4o-mini",), ("gpt-4o-mini-2024-07-18",), ("no-such", "gpt-4o-mini")):
        cost = priced(usage, *names)
        assert (cost.amount, cost.currency) == (Decimal("0.75"), "USD")
        assert cost.price_source.startswith("genai-prices ")
    assert priced(usage, "no-such-model") is None


def test_price_of_unknown_tokens_is_unknown() -> None:
    price = Price(input=Decimal(1), output=Decimal(1))
    assert priced(Usage(input_tokens=1), "m", m=price) is None
    assert priced(Usage(output_tokens=1), "m", m=price) is None
    assert priced(Usage(input_tokens=0, output_tokens=0), "m", m=price).amount == 0


def test_cached_tokens_without_a_price_cost_as_much_as_others() -> None:
    usage = Usage(input_tokens=10, output_tokens=0, cached_tokens=5)
    assert priced(usage, "m", m=Price(input=Decimal(2), output=Decimal(1))).amount * 1_000_000 == 20
    cheap = Price(input=Decimal(2), output=Decimal(1), cached=Decimal(1))
    assert priced(usage, "m", m=cheap).amount * 1_000_000 == 15


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (Decimal("0.00420"), "INR", "₹0.0042"),
        (Decimal("1E-7"), "USD", "$0.0000001"),
        (Decimal(0), "USD", "$0"),
        (Decimal(12), "SEK", "12 SEK"),
        (None, "USD", "unknown"),
    ],
)
def test_money_is_shown_in_full(amount: Decimal | None, currency: str, shown: str) -> None:
    assert money(amount, currency) == shown


def test_tokens_are_counted_as_the_models_own_tokenizer_does() -> None:
    # counted with OpenAI's tiktoken, o200k_base
    assert tokenizer.count("Explain how JWT tokens work") == 5
    assert tokenizer.count("naïve café — “quotes” 🧠 emoji\n\n def f(x):\n    return x") == 20
    assert tokenizer.count("漢字" * 100) == 200
    assert tokenizer.count("<|endoftext|>") == 7
    assert tokenizer.count("\ud800") == 1
    assert tokenizer.count("") == 0
