"""Several upstreams: fallbacks, breakers, hedges and queues, with real servers."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from flask import Flask
from flask import request

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream.settings import Settings
from llm_stream.testing import Gate
from llm_stream.testing import Script
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.upstream.allowance import Allowance
from llm_stream.upstream.breaker import FAILURES
from llm_stream.upstream.upstreams import Provider

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .conftest import text_of

Serve = Callable[..., Server]

KEYS = {"KEY_OF_FIRST": "sk-first", "KEY_OF_SECOND": "sk-second"}


@pytest.fixture
def first() -> Iterator[Upstream]:
    with Upstream(lambda _: Script(["first"])) as upstream:
        yield upstream


@pytest.fixture
def second() -> Iterator[Upstream]:
    with Upstream(lambda _: Script(["second"])) as upstream:
        yield upstream


def table(first: Upstream, second: Upstream, **more: Any) -> dict[str, Any]:
    """Both have the model `m`; the second one calls it `other/m`, and has the model `spare`, too."""
    return {
        "first": {"base_url": first.base_url, "key_variable": "KEY_OF_FIRST", "models": ["m"], **more},
        "second": {
            "base_url": second.base_url,
            "key_variable": "KEY_OF_SECOND",
            "models": {"m": "other/m", "spare": "spare"},
        },
    }


def started(serve: Serve, upstreams: dict[str, Any], **settings: Any) -> Server:
    return serve(None, model="m", upstreams=upstreams, disconnect_grace_s=0.5, **KEYS, **settings)


def record_of(server: Server, events: list[Event]) -> dict[str, Any]:
    return server.record(events[0][2]["id"])


def failing(status: int = 500) -> Script:
    return Script([], status=status)


@contextmanager
def dead(upstream: Upstream) -> Iterator[None]:
    upstream._otherwise = lambda _: failing()
    yield
    upstream._otherwise = lambda _: Script(["first"])


# Fallbacks


def test_fallback_crosses_upstreams_each_with_its_own_key_and_name(
    first: Upstream, second: Upstream, serve: Serve
) -> None:
    server = started(serve, table(first, second), retries=0)
    first.answer(status=401)
    events = server.events()
    assert text_of(events) == "second"
    assert (first.request(0).json["model"], second.request(0).json["model"]) == ("m", "other/m")
    assert first.request(0).headers["authorization"] == "Bearer sk-first"
    assert second.request(0).headers["authorization"] == "Bearer sk-second"
    assert record_of(server, events)["upstream_model"] == "other/m"
    assert record_of(server, events)["model"] == "m"
    eventually(server.at_rest)


def test_fallback_models_are_asked_where_they_are(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), retries=0, fallback_models=["spare"])
    first.answer(status=500)
    second.answer(status=500)
    assert text_of(server.events()) == "second"
    assert [asked.json["model"] for asked in second.requests] == ["other/m", "spare"]


def test_price_of_a_model_is_found_under_either_name(first: Upstream, second: Upstream, serve: Serve) -> None:
    price = {"input": "0", "output": "1000000", "currency": "INR"}
    server = started(serve, table(first, second), retries=0, prices={"m": price})
    first.answer(status=500)
    assert record_of(server, server.events())["cost"] == "1"


def test_upstream_is_asked_by_its_own_api(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second, api="responses"), retries=0)
    first.answer(status=500)
    assert text_of(server.events()) == "second"
    assert (first.request(0).path, second.request(0).path) == ("/v1/responses", "/v1/chat/completions")
    assert text_of(server.events()) == "first"


# The breaker


def test_breaker_opens_and_the_second_is_asked_at_once_until_a_trial_succeeds(
    first: Upstream, second: Upstream, serve: Serve
) -> None:
    server = started(serve, table(first, second), retries=0)
    with dead(first):
        for _ in range(FAILURES + 2):
            assert text_of(server.events()) == "second"
        assert len(first.requests) == FAILURES
    assert "its breaker is open" in server.log
    eventually(lambda: text_of(server.events()) == "first", "the trial")
    assert "its breaker is closed" in server.log
    assert text_of(server.events()) == "first"
    eventually(server.at_rest)


def test_breaker_stays_closed_after_refusals(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), retries=0)
    for _ in range(FAILURES + 2):
        first.answer(status=429)
        assert text_of(server.events()) == "second"
    assert text_of(server.events()) == "first"


def test_first_is_tried_where_all_are_down(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), retries=0)
    second._otherwise = lambda _: failing()
    with dead(first):
        for _ in range(FAILURES):
            server.events()
    assert text_of(server.events()) == "first"


# Hedging


def test_hedge_keeps_who_speaks_first_and_cuts_the_other(first: Upstream, second: Upstream, serve: Serve) -> None:
    price = {"input": "1000000", "output": "0", "currency": "INR"}
    server = started(serve, table(first, second), hedge_after_s=0.1, prices={"m": price})
    first.answer(Stall())
    events = server.events()
    assert text_of(events) == "second"
    assert first.request(0).left.wait(SOON_S)
    record = record_of(server, events)
    assert record["upstream_model"] == "other/m"
    assert (record["input_tokens"], record["output_tokens"], record["source"]) == ("2", "1", "estimated")
    assert record["cost"] == "2"
    eventually(server.at_rest)


def test_hedge_is_cut_where_the_first_speaks_after_all(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), hedge_after_s=0.1)
    gate = Gate()
    first.answer(gate, "slow")
    second.answer(Stall())
    connection = Connection.get(server.port, "/llm/chat?prompt=hi")
    asked = second.request(0)
    gate.open()
    assert "slow" in connection.read_until("event: done")
    assert asked.left.wait(SOON_S)
    eventually(server.at_rest)


def test_hedge_before_the_headers_and_at_the_same_upstream(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, hedge_after_s=0.1)
    upstream.answer(Stall(before_headers=True))
    upstream.answer("again")
    assert text_of(server.events()) == "again"
    assert len(upstream.requests) == 2
    eventually(server.at_rest)


def test_stop_cuts_both_calls(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), hedge_after_s=0.1)
    first.answer(Stall())
    second.answer(Stall())
    connection = Connection.get(server.port, "/llm/chat?prompt=hi")
    stream_id = connection.read_until('"model"').partition('{"id":"')[2].partition('"')[0]
    asked = first.request(0), second.request(0)
    assert server.request("DELETE", f"/llm/streams/{stream_id}").is_success
    assert all(each.left.wait(SOON_S) for each in asked)
    assert server.record(stream_id)["status"] == "cancelled"
    eventually(server.at_rest)


def test_hedge_that_fails_leaves_the_first_alone(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second), hedge_after_s=0.1)
    gate = Gate()
    first.answer(gate, "slow")
    second.answer(status=500)
    connection = Connection.get(server.port, "/llm/chat?prompt=hi")
    assert second.request(0).ended.wait(PATIENCE_S)
    gate.open()
    assert "slow" in connection.read_until("event: done")
    eventually(server.at_rest)


def test_budget_reserves_both_calls(first: Upstream, second: Upstream, serve: Serve) -> None:
    price = {"input": "0", "output": "1000000", "currency": "INR"}
    budget = {"day": "15", "currency": "INR"}
    settings = {"prices": {"m": price}, "budgets": budget, "max_output_tokens": 10}
    refused = started(serve, table(first, second), hedge_after_s=0.1, **settings).post()
    assert (refused.status_code, refused.json()["error"]["code"]) == (402, "over_budget")
    assert not first.requests
    assert text_of(started(serve, table(first, second), **settings).events()) == "first"


def test_few_calls_are_hedged() -> None:
    allowance = Allowance()
    hedged = 0
    for _ in range(1000):
        allowance.count_call()
        hedged += allowance.take()
    assert hedged <= 51


# The queue


def test_never_more_than_the_limit_at_once_and_every_answer_comes(
    first: Upstream, second: Upstream, serve: Serve
) -> None:
    server = started(serve, table(first, second, calls_at_once=2))
    gate = Gate()
    first._otherwise = lambda _: Script([gate, "first"])
    most = []
    with ThreadPoolExecutor(6) as pool:
        answers = [pool.submit(server.events) for _ in range(6)]
        first.request(1)
        most.append(first.open)
        gate.open()
        assert [text_of(answer.result()) for answer in answers] == ["first"] * 6
    assert most == [2]
    assert not second.requests
    eventually(server.at_rest)


def test_stop_leaves_the_queue_and_buys_nothing(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second, calls_at_once=1))
    gate = Gate()
    first.answer(gate, "first")
    running = Connection.get(server.port, "/llm/chat?prompt=one")
    first.request(0)
    waiting = Connection.get(server.port, "/llm/chat?prompt=two")
    stream_id = waiting.read_until('"model"').partition('{"id":"')[2].partition('"')[0]
    assert server.request("DELETE", f"/llm/streams/{stream_id}").is_success
    assert (server.record(stream_id)["status"], server.record(stream_id)["source"]) == ("cancelled", "none")
    gate.open()
    running.read_until("event: done")
    assert len(first.requests) == 1
    eventually(server.at_rest)
    assert text_of(server.events()) == "first"


def test_deadline_in_the_queue_is_an_honest_refusal(first: Upstream, second: Upstream, serve: Serve) -> None:
    server = started(serve, table(first, second, calls_at_once=1), first_token_s=1)
    first.answer("first", Gate())
    Connection.get(server.port, "/llm/chat?prompt=one").read_until("first")
    refused = server.post()
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["retryable"]) == (503, "upstream_busy", True)
    assert refused.headers["Retry-After"]
    assert len(first.requests) == 1
    assert record_of_refusal(server)["source"] == "none"


def record_of_refusal(server: Server) -> dict[str, Any]:
    (record,) = eventually(
        lambda: [record for record in server.records() if record["error_code"] == "upstream_busy"], "the record"
    )
    return dict(record)


def test_owners_take_turns(first: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_OF_FIRST", "sk-first")
    app = Flask("fair")
    upstream = {"base_url": first.base_url, "key_variable": "KEY_OF_FIRST", "models": ["m"], "calls_at_once": 1}
    app.config.update(LLM_STREAM_UPSTREAMS={"first": upstream})
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: request.args["owner"])
    app.register_blueprint(llm)
    gate = Gate()
    first.answer(gate, "first")
    client = app.test_client()
    for number, owner in enumerate(("a", "a", "a", "b")):
        assert client.post(f"/streams?owner={owner}", json={"prompt": f"{owner}{number}"}).status_code == 201
        with app.app_context():
            ((provider, _),) = llm.state.upstreams._served
        eventually(partial(is_waiting, provider, number), "the place in the queue")
    gate.open()
    first.request(3)
    assert [asked.json["messages"][0]["content"] for asked in first.requests] == ["a0", "a1", "b3", "a2"]
    eventually(lambda: provider.queue is not None and not provider.queue._running, "the free slot")
    llm.close()


def is_waiting(provider: Provider, calls: int) -> bool:
    assert provider.queue is not None
    return provider.queue._running == 1 and sum(map(len, provider.queue._waiting.values())) == calls


# The settings


@pytest.mark.parametrize(
    ("upstream", "problem"),
    [
        ({"models": []}, "at least one model"),
        ({"models": ["a", "a"]}, "each model in `models` once"),
        ({"models": ["a"], "modles": 1}, "unknown field `modles`"),
        ({"models": ["a"], "key_variable": "NO_SUCH_KEY"}, "set the environment variable NO_SUCH_KEY"),
        ({"models": ["a"], "calls_at_once": 0}, "calls_at_once"),
        ({"models": ["a"], "base_url": "api.example.com"}, "base_url"),
        ({"models": ["b"]}, "no upstream has the model 'a'"),
    ],
)
def test_wrong_table_is_named(upstream: dict[str, Any], problem: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk")
    one = {"base_url": "https://api.example.com/v1", "key_variable": "SOME_KEY", **upstream}
    with pytest.raises(ConfigError, match=problem):
        Settings.from_config({"LLM_STREAM_UPSTREAMS": {"one": one}, "LLM_STREAM_MODELS": ["a"]})


def test_default_model_must_be_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_KEY", "sk")
    app = Flask("unserved")
    one = {"base_url": "https://api.example.com/v1", "key_variable": "SOME_KEY", "models": ["a"]}
    app.config.update(LLM_STREAM_PUBLIC=True, LLM_STREAM_UPSTREAMS={"one": one})
    with pytest.raises(ConfigError, match="no upstream has the model 'z'"):
        app.register_blueprint(LLMStream("llm", __name__, model="z"))
