"""What a stream costs: whose figures come first, which tokens are counted where, and that no digit is lost."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from datetime import date
from datetime import datetime
from decimal import Decimal
from decimal import localcontext
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream import Usage
from llm_stream import UsageRecord
from llm_stream.settings import Price
from llm_stream.settings import Settings
from llm_stream.settings import Tier
from llm_stream.testing import Cut
from llm_stream.testing import Pause
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.upstream.chunks import ChunkDecoder
from llm_stream.upstream.figures import usage_of
from llm_stream.usage.price import Cost
from llm_stream.usage.price import cost_of

from .conftest import of_kind

MakeApp = Callable[..., Flask]

RUPEES = {"scripted": {"input": "14", "output": "58", "cached": "7", "currency": "INR"}}


def ask(app: Flask) -> UsageRecord:
    app.test_client().get("/llm/chat?prompt=hi").get_data()
    record: UsageRecord = app.extensions["records"][-1]
    return record


def chunk(content: str | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}


def decoded(*chunks: dict[str, Any]) -> Usage:
    """What is known after these chunks."""
    decoder = ChunkDecoder()
    for each in chunks:
        decoder.feed(msgspec.json.encode(each))
    assert decoder.attempt.figures is not None
    return decoder.attempt.figures


def per_million(usage: Usage, price: Price, service_tier: str | None = None) -> Decimal:
    cost = cost_of(usage, ["m"], {"m": price}, service_tier=service_tier)
    assert cost is not None
    return cost.amount * 1_000_000


# which tokens are counted where


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        # OpenAI counts its cache inside the input, Anthropic outside: the same request, told by both
        ({"prompt_tokens": 1000, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 400}}, (1000, 400)),
        ({"input_tokens": 600, "output_tokens": 9, "cache_read_input_tokens": 400}, (1000, 400)),
        ({"input_tokens": 1000, "output_tokens": 9, "input_tokens_details": {"cached_tokens": 400}}, (1000, 400)),
        # a gateway that has put the two forms together
        ({"prompt_tokens": 1000, "completion_tokens": 9, "cache_read_input_tokens": 400}, (1000, 400)),
        # a part cannot be more than the whole
        ({"prompt_tokens": 8, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 400}}, (408, 400)),
        # DeepSeek, Moonshot
        ({"prompt_tokens": 1000, "completion_tokens": 9, "prompt_cache_hit_tokens": 400}, (1000, 400)),
        ({"prompt_tokens": 1000, "completion_tokens": 9, "cached_tokens": 400}, (1000, 400)),
    ],
)
def test_cached_input_is_a_part_of_the_input_whoever_counts_it(given: dict[str, Any], counts: tuple[int, int]) -> None:
    usage = usage_of(given)
    assert usage is not None and (usage.input_tokens, usage.cached_tokens) == counts


def test_what_was_written_to_a_cache_is_a_part_of_the_input() -> None:
    beside = {"input_tokens": 100, "output_tokens": 9, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 60}
    details = {"cached_tokens": 40, "cache_write_tokens": 60}
    for told in (beside, {"prompt_tokens": 200, "completion_tokens": 9, "prompt_tokens_details": details}):
        usage = usage_of(told)
        assert usage == Usage(200, 9, 40, source="provider", cache_write_tokens=60)


@pytest.mark.parametrize(
    ("total", "reasoning", "output"),
    [
        (None, 50, 80),
        (110, 50, 80),  # OpenAI: inside
        (160, 50, 130),  # xAI: beside
        (None, 200, 280),  # cannot be inside
        (110, 0, 80),
    ],
)
def test_reasoning_is_a_part_of_the_output_whoever_counts_it(total: int | None, reasoning: int, output: int) -> None:
    details = {"reasoning_tokens": reasoning}
    usage = usage_of(
        {"prompt_tokens": 30, "completion_tokens": 80, "total_tokens": total, "completion_tokens_details": details}
    )
    assert usage is not None and (usage.output_tokens, usage.reasoning_tokens) == (output, reasoning)


def test_figures_are_totals_and_not_parts_of_a_sum() -> None:
    figures = {"prompt_tokens": 10, "completion_tokens": 4}
    whole = Usage(10, 4, source="provider")
    for chunks in (
        [chunk("a", usage=figures), chunk(usage=figures)],  # sent twice
        [chunk("a", usage={"prompt_tokens": 10, "completion_tokens": n}) for n in range(5)],  # on every chunk
        [chunk("a", usage={"prompt_tokens": 10, "completion_tokens": 1}), chunk(usage=figures)],  # partial, then final
        [chunk(usage={"prompt_tokens": 10}), chunk(usage={"completion_tokens": 4})],  # each figure when it is known
        [chunk(usage=figures), chunk(usage={"prompt_tokens": 0, "completion_tokens": 0})],  # an empty form at the end
        [chunk(usage=figures), chunk(usage={}), chunk(usage=None)],
    ):
        assert decoded(*chunks) == whole


def test_detail_that_the_last_figures_leave_out_is_kept() -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 400}}
    first = {"prompt_tokens": 1000, "completion_tokens": 1, **details}
    usage = decoded(chunk("a", usage=first), chunk(usage={"prompt_tokens": 1000, "completion_tokens": 7}))
    assert usage == Usage(1000, 7, 400, source="provider")


def test_cost_of_part_of_an_answer_is_not_the_cost_of_all() -> None:
    first = {"prompt_tokens": 10, "completion_tokens": 1, "cost": 0.001}
    assert decoded(chunk("a", usage=first), chunk(usage={"prompt_tokens": 10, "completion_tokens": 9})).cost is None
    assert decoded(chunk("a", usage=first), chunk(usage={"prompt_tokens": 10, "completion_tokens": 1})).cost == Decimal(
        "0.001"
    )
    dearer = {"prompt_tokens": 10, "completion_tokens": 9, "cost": 0.002}
    assert decoded(chunk("a", usage=first), chunk(usage=dearer)).cost == Decimal("0.002")


def test_real_zero_is_a_figure(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices=RUPEES)
    upstream.answer("Hi", usage={"prompt_tokens": 0, "completion_tokens": 0})
    record = ask(app)
    assert (record.input_tokens, record.output_tokens, record.cost, record.currency) == (0, 0, Decimal(0), "INR")
    upstream.answer("Hi", usage={"prompt_tokens": 9, "completion_tokens": 1, "cost": 0})  # a free model
    record = ask(app)
    assert (record.input_tokens, record.cost, record.price_source) == (9, Decimal(0), "provider")


def test_partial_figures_of_a_broken_answer_are_paid(make_app: MakeApp, upstream: Upstream) -> None:
    figures = {"prompt_tokens": 5, "completion_tokens": 2, "cost": "0.00031"}
    upstream.answer(chunk("a", usage=figures), Pause(0.1), Cut())
    record = ask(make_app(prices=RUPEES))
    assert (record.source, record.cost, record.price_source) == ("partial", Decimal("0.00031"), "provider")


# whose price


@pytest.mark.parametrize(
    ("figures", "cost", "currency"),
    [
        ({"cost": 0.00095}, Decimal("0.00095"), "USD"),
        ({"cost": 0.00095, "currency": "INR"}, Decimal("0.00095"), "INR"),
        ({"cost": 0.00095, "currency": "eur"}, Decimal("0.00095"), "EUR"),
        ({"cost": {"input_tokens_cost": 0.1, "total_cost": 0.4}}, Decimal("0.4"), "USD"),  # Perplexity
        ({"cost_in_usd_ticks": 37756000}, Decimal("0.0037756"), "USD"),  # xAI
        # no money: the operator's table, then
        ({"cost": 3, "currency": "credits"}, Decimal("0.000198"), "INR"),
        ({"cost": "a lot"}, Decimal("0.000198"), "INR"),
    ],
)
def test_providers_own_cost_in_its_own_currency(
    make_app: MakeApp, upstream: Upstream, figures: dict[str, Any], cost: Decimal, currency: str
) -> None:
    upstream.answer("Hi", usage={"prompt_tokens": 10, "completion_tokens": 1, **figures})
    record = ask(make_app(prices=RUPEES))
    assert (record.cost, record.currency) == (cost, currency)
    assert record.price_date == record.started.date()


def test_server_in_rupees_behind_another_is_not_booked_in_dollars(
    make_app: MakeApp, upstream: Upstream, serve: Callable[..., Any]
) -> None:
    upstream.answer("Hi", usage={"prompt_tokens": 1000, "completion_tokens": 200})
    first = serve(upstream, model="scripted", prices=RUPEES)
    client = OpenAI(base_url=f"{first.url}/llm/v1", api_key="none")
    app = make_app(LLMStream("llm", __name__, model="scripted", client=client))
    record = ask(app)
    assert (record.cost, record.currency, record.price_source) == (Decimal("0.0256"), "INR", "provider")
    upstream.answer("The quick brown fox", usage=False)
    assert ask(app).source == "estimated"  # counted by the first server; no provider has said it


def test_own_table_comes_before_the_public_lists(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hi", usage={"prompt_tokens": 1_000_000, "completion_tokens": 0})
    client = OpenAI(base_url=upstream.base_url, api_key="none")
    llm = LLMStream("llm", __name__, model="gpt-4o-mini", client=client)
    record = ask(make_app(llm, prices={"gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}))
    assert (record.cost, record.currency, record.price_source) == (Decimal(14), "INR", "LLM_STREAM_PRICES")
    assert record.price_date == record.started.date()


# the operator's table


TIERED = Price(
    input=Decimal(2),
    output=Decimal(10),
    cached=Decimal(1),
    tiers=(
        Tier(above=400, input=Decimal(8)),
        Tier(above=200, input=Decimal(4), output=Decimal(20), cached=Decimal(2)),
    ),
)


@pytest.mark.parametrize(
    ("read", "cached", "amount"),
    [
        (200, 0, 200 * 2 + 10 * 10),  # the tier begins above its number
        (201, 0, 201 * 4 + 10 * 20),  # and then holds for all tokens
        (201, 100, 101 * 4 + 100 * 2 + 10 * 20),
        (401, 100, 301 * 8 + 100 * 2 + 10 * 20),  # what a tier does not name stays as below
    ],
)
def test_long_contexts_have_their_own_prices(read: int, cached: int, amount: int) -> None:
    assert per_million(Usage(read, 10, cached), TIERED) == amount


def test_each_kind_of_token_may_have_a_price_of_its_own() -> None:
    usage = Usage(100, 50, cached_tokens=20, reasoning_tokens=30, cache_write_tokens=10)
    plain = Price(input=Decimal(2), output=Decimal(3))
    assert per_million(usage, plain) == 100 * 2 + 50 * 3
    price = Price(
        input=Decimal(2),
        output=Decimal(3),
        cached=Decimal("0.5"),
        cache_write=Decimal("2.5"),
        reasoning=Decimal(4),
    )
    assert per_million(usage, price) == 70 * 2 + 20 * Decimal("0.5") + 10 * Decimal("2.5") + 20 * 3 + 30 * 4


def test_service_tiers_multiply() -> None:
    usage, price = Usage(100, 10), Price(input=Decimal(2), output=Decimal(10))
    for tier, amount in {None: 300, "default": 300, "flex": 150, "Flex": 150, "batch": 150, "priority": 600}.items():
        assert per_million(usage, price, tier) == amount
    own = Price(input=Decimal(2), output=Decimal(10), service_tiers={"priority": Decimal("1.75"), "turbo": Decimal(3)})
    for tier, amount in {"flex": 150, "priority": 525, "turbo": 900}.items():
        assert per_million(usage, own, tier) == amount


def test_service_tier_that_was_given_is_on_the_record(make_app: MakeApp, upstream: Upstream) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 200}
    upstream.answer(
        chunk("Hi", service_tier="auto"), chunk("!"), chunk(finish="stop", service_tier="flex"), usage=usage
    )
    record = ask(make_app(prices=RUPEES))
    assert (record.service_tier, record.cost) == ("flex", Decimal("0.0128"))


def test_table_in_full_is_read_from_the_settings() -> None:
    written = {
        "input": "14",
        "output": 58,
        "cached": "7",
        "cache_write": "17.5",
        "reasoning": "60",
        "currency": "INR",
        "tiers": [{"above": 200000, "input": "28"}],
        "service_tiers": {"priority": "1.75"},
    }
    (price,) = Settings.from_config({"LLM_STREAM_PRICES": {"m": written}}).prices.values()
    assert (price.cache_write, price.tiers[0].input, price.service_tiers["priority"]) == (
        Decimal("17.5"),
        Decimal(28),
        Decimal("1.75"),
    )


@pytest.mark.parametrize("amount", ["-1", "NaN", "Infinity"])
def test_price_is_an_amount_of_money(amount: str) -> None:
    from llm_stream import ConfigError

    for wrong in (
        {"input": amount, "output": "1"},
        {"input": "1", "output": "1", "tiers": [{"above": 1, "input": amount}]},
        {"input": "1", "output": "1", "service_tiers": {"flex": amount}},
    ):
        with pytest.raises(ConfigError, match="LLM_STREAM_PRICES"):
            Settings.from_config({"LLM_STREAM_PRICES": {"m": wrong}})


# the public lists


def listed(usage: Usage, *models: str, at: str = "2026-11-22T12:00:00", **more: Any) -> Cost:
    cost = cost_of(usage, models, {}, at=datetime.fromisoformat(at).replace(tzinfo=UTC), **more)
    assert cost is not None
    return cost


def test_public_lists_know_cached_input_and_say_which_they_are() -> None:
    cost = listed(Usage(1_000_000, 1_000_000, 1_000_000), "gpt-5")
    assert cost.amount == Decimal("0.125") + 10
    assert cost.price_source.startswith("genai-prices 0.")
    assert cost.price_date == date(2026, 11, 22)


def test_public_lists_know_long_contexts() -> None:
    assert listed(Usage(200_000, 0), "gemini-2.5-pro").amount == Decimal("0.25")
    assert listed(Usage(200_001, 0), "gemini-2.5-pro").amount == Decimal("0.5000025")


def test_public_lists_know_the_day_and_the_hour() -> None:
    tokens = Usage(1_000_000, 0)
    assert listed(tokens, "o3", at="2025-06-09T23:59:59").amount == 10
    assert listed(tokens, "o3", at="2025-06-10T00:00:00").amount == 2
    night, day = (listed(tokens, "deepseek/deepseek-chat", at=f"2026-01-01T{hour}:00:00") for hour in ("20", "12"))
    assert (night.amount, day.amount) == (Decimal("0.135"), Decimal("0.27"))


@pytest.mark.parametrize(("tier", "amount"), [(None, 20), ("default", 20), ("flex", 10), ("priority", 40)])
def test_public_lists_know_service_tiers(tier: str | None, amount: int) -> None:
    assert listed(Usage(0, 2_000_000), "gpt-5", service_tier=tier).amount == amount


def test_service_tier_without_a_listed_price_multiplies_the_standard_one() -> None:
    standard = listed(Usage(1_000_000, 0), "mistral/mistral-large-latest").amount
    assert listed(Usage(1_000_000, 0), "mistral/mistral-large-latest", service_tier="flex").amount == standard / 2


def test_provider_is_known_by_its_address() -> None:
    tokens = Usage(1_000_000, 1_000_000)
    groq = listed(tokens, "openai/gpt-oss-120b", base_url="https://api.groq.com/openai/v1")
    elsewhere = listed(tokens, "openai/gpt-oss-120b", base_url="https://api.fireworks.ai/inference/v1")
    assert groq.amount > 0 and elsewhere.amount > 0
    assert listed(tokens, "gpt-4o-mini", base_url="https://api.openai.com/v1").amount == Decimal("0.75")
    assert listed(tokens, "gpt-4o-mini", base_url="http://127.0.0.1:4000/v1").amount == Decimal("0.75")


def test_prices_that_were_updated_say_when() -> None:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.data_snapshot import get_snapshot
    from genai_prices.data_snapshot import set_custom_snapshot

    set_custom_snapshot(DataSnapshot(get_snapshot().providers, True, timestamp=datetime(2026, 11, 20, 8)))
    try:
        assert listed(Usage(1, 1), "gpt-5").price_source.endswith(" updated 2026-11-20")
    finally:
        set_custom_snapshot(None)


def test_readers_are_told_of_the_cost_and_not_of_the_cache(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hi", usage={"input_tokens": 100, "output_tokens": 9, "cache_creation_input_tokens": 60})
    app = make_app(prices=RUPEES)
    told = of_kind(read_events(app.test_client().get("/llm/chat?prompt=hi").data), "usage")
    assert told == {
        "input_tokens": 160,
        "output_tokens": 9,
        "source": "provider",
        "cost": "0.002762",
        "currency": "INR",
    }
    assert app.extensions["records"][-1].cache_write_tokens == 60


# whatever the figures are

AMOUNTS = st.decimals(min_value=0, max_value=10_000, places=12)
COUNTS = st.integers(min_value=0, max_value=2**53 - 1)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cached_tokens=st.none() | COUNTS,
    reasoning_tokens=st.none() | COUNTS,
    cache_write_tokens=st.none() | COUNTS,
)
SERVICE_TIERS = st.sampled_from([None, "default", "flex", "batch", "priority", "nobody's"])


@st.composite
def rising_prices(draw: st.DrawFn) -> Price:
    """Longer contexts cost more, as they do everywhere."""
    rates: dict[str, Any] = {kind: draw(AMOUNTS) for kind in ("input", "output", "cached", "cache_write", "reasoning")}
    tiers, dearer = [], dict(rates)
    for above in draw(st.lists(COUNTS, max_size=3, unique=True).map(sorted)):
        dearer = {kind: rate + draw(AMOUNTS) for kind, rate in dearer.items()}
        tiers.append(Tier(above=above, **dearer))
    return Price(**rates, tiers=tuple(tiers))


@given(USAGES, rising_prices(), SERVICE_TIERS, st.integers(0, 2**40), st.sampled_from(["input", "output"]))
def test_more_tokens_never_cost_less(usage: Usage, price: Price, tier: str | None, more: int, kind: str) -> None:
    name = f"{kind}_tokens"
    # more of the plain kind: what is of a special one may be cheaper
    cached, cache_write = min(usage.cached_tokens or 0, usage.input_tokens or 0), 0
    reasoning = min(usage.reasoning_tokens or 0, usage.output_tokens or 0)
    usage = msgspec.structs.replace(
        usage, cached_tokens=cached, cache_write_tokens=cache_write, reasoning_tokens=reasoning
    )
    grown = msgspec.structs.replace(usage, **{name: getattr(usage, name) + more})
    assert 0 <= per_million(usage, price, tier) <= per_million(grown, price, tier)


@given(USAGES, rising_prices(), SERVICE_TIERS)
def test_cost_is_exact_to_the_last_digit(usage: Usage, price: Price, tier: str | None) -> None:
    plain = Price(input=price.input, output=price.output)
    factor = {"flex": Fraction(1, 2), "batch": Fraction(1, 2), "priority": Fraction(2)}.get(tier or "", Fraction(1))
    exact = (
        (usage.input_tokens or 0) * Fraction(plain.input) + (usage.output_tokens or 0) * Fraction(plain.output)
    ) * (factor)
    with localcontext(prec=3):  # of the host app
        cost = cost_of(usage, ["m"], {"m": plain}, service_tier=tier)
    assert cost is not None and Fraction(cost.amount) == exact / 1_000_000


@given(USAGES, st.sampled_from(["gpt-5", "claude-sonnet-4-5", "gemini-2.5-pro", "deepseek-chat", "o3"]), SERVICE_TIERS)
def test_public_prices_are_never_negative_and_fail_on_no_figures(usage: Usage, model: str, tier: str | None) -> None:
    cost = cost_of(usage, [model], {}, service_tier=tier)
    assert cost is not None and cost.amount >= 0 and cost.amount.is_finite()


VALUES = st.none() | st.booleans() | st.integers(-5, 2**60) | st.floats() | st.text(max_size=3)
NAMES = ["prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "total_tokens", "cached_tokens"]
NAMES += ["cache_read_input_tokens", "cache_creation_input_tokens", "cost", "cost_in_usd_ticks", "currency", "source"]
DETAILS = st.dictionaries(st.sampled_from(["cached_tokens", "cache_write_tokens", "reasoning_tokens"]), VALUES)
FIGURES = st.builds(
    dict.__or__,
    st.dictionaries(st.sampled_from(NAMES), VALUES),
    st.dictionaries(st.sampled_from(["prompt_tokens_details", "completion_tokens_details"]), DETAILS | VALUES),
)


@given(st.lists(FIGURES, min_size=1, max_size=4))
def test_whatever_a_provider_tells_is_priced_or_left_alone(told: list[dict[str, Any]]) -> None:
    decoder = ChunkDecoder()
    for figures in told:
        decoder.events({"choices": [], "usage": figures})
    if decoder.attempt.figures is not None:
        cost = cost_of(decoder.attempt.figures, ["gpt-5"], {"m": TIERED})
        assert cost is None or (cost.amount >= 0 and cost.amount.is_finite())
