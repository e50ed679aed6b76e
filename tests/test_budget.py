"""Budgets: nobody spends more than the limit, however many ask at once, and a refusal buys nothing."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from openai import OpenAI

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream import Usage
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Script
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.usage import estimate
from llm_stream.usage.record import FRACTIONS

from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .databases import PostgreSQL
from .databases import PostgreSQLServer
from .databases import SQLite

MakeApp = Callable[..., Flask]
Serve = Callable[..., Server]

MODEL = "openai/gpt-4o-mini"
A_RUPEE_A_TOKEN = {"input": "0", "output": "1000000", "currency": "INR"}
RUPEES = {"prices": {MODEL: A_RUPEE_A_TOKEN, "scripted": A_RUPEE_A_TOKEN}, "max_output_tokens": 10}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    if request.param == "sqlite":
        yield SQLite(tmp_path_factory.mktemp("ledger"))
        return
    server = PostgreSQLServer()
    yield PostgreSQL(server)
    server.close()


@pytest.fixture
def ledger(tmp_path: Path) -> SQLite:
    return SQLite(tmp_path)


def in_budget(database: Any) -> list[tuple[str, float, float]]:
    """What is spent and held in each period."""
    rows = database.rows("SELECT * FROM llm_stream_budgets ORDER BY period")
    return [(row["period"], row["spent"] / FRACTIONS, row["reserved"] / FRACTIONS) for row in rows]


def spent(database: Any) -> float:
    """What one period holds, with nothing held any more."""
    eventually(lambda: not database.rows("SELECT * FROM llm_stream_reservations"), "the record")
    ((_, spent, reserved),) = in_budget(database)
    assert reserved == 0
    return spent


POST = """POST /llm/chat HTTP/1.1
Host: localhost
Connection: close
Content-Type: application/json
Content-Length: 16

{"prompt": "hi"}"""


def budget(**limits: Any) -> dict[str, Any]:
    return {"currency": "INR"} | limits


# How much, and for whom…


@pytest.mark.usefixtures("one_day")
def test_64_parallel_starts_against_a_limit_for_10_are_10_streams(database: Any, serve: Serve) -> None:
    gate = Gate()
    with Upstream(lambda asked: Script(("one", gate))) as upstream:
        limits = {"budgets": budget(day="109.99", month="500"), "max_streams_per_owner": 100}
        servers = [serve(upstream, ledger_url=database.url, **limits, **RUPEES) for _ in range(2)]
        clients = [Connection(servers[number % 2].port, POST) for number in range(64)]
        answers = [client.read_until("\r\n\r\n")[:12] for client in clients]
        assert sorted(answers) == ["HTTP/1.1 200"] * 10 + ["HTTP/1.1 402"] * 54
        assert len(upstream.requests) == 10
        assert [(spent, held) for _, spent, held in in_budget(database)] == [(0, 100), (0, 100)]
        told = [client.read_to_end() for client, answer in zip(clients, answers, strict=True) if "402" in answer]
        assert all("Your running answers have reserved the rest" in refusal for refusal in told)
        gate.open()
        for client, answer in zip(clients, answers, strict=True):
            assert "402" in answer or '"status":"completed"' in client.read_to_end()
        assert [(spent, held) for _, spent, held in in_budget(database)] == [(10, 0), (10, 0)]
        assert not database.rows("SELECT * FROM llm_stream_reservations")
        assert len(database.rows("SELECT * FROM llm_stream_usage")) == 10


@pytest.mark.usefixtures("one_day")
def test_refusal_buys_nothing_and_leaves_no_trace(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    app = make_app(ledger_url=ledger.url, budgets=budget(day=15), **RUPEES)
    client = app.test_client()
    upstream.answer("1 ", "2 ", "3 ", "4 ", "5 ", "6 ")
    assert b"completed" in client.get("/llm/chat?prompt=hi").data
    refused = client.post("/llm/chat", json={"prompt": "hi", "key": "k"})
    assert refused.status_code == 402
    error = refused.json["error"]
    assert (error["code"], error["retryable"]) == ("over_budget", False)
    assert error["message"].startswith(
        "This answer could cost ₹10, but only ₹9 of your budget of ₹15 for today are left."
    )
    assert 0 < int(refused.headers["Retry-After"]) <= 24 * 3600
    assert client.get("/llm/chat?prompt=hi").status_code == 402
    upstream.answer("one")
    shorter = client.post("/llm/chat", json={"prompt": "hi", "key": "k", "max_output_tokens": 9})
    assert shorter.status_code == 200 and b"completed" in shorter.data
    assert len(upstream.requests) == 2 == len(ledger.rows("SELECT * FROM llm_stream_usage"))
    assert len(app.extensions["records"]) == 2


def test_request_over_the_whole_budget_is_told_so(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    client = make_app(ledger_url=ledger.url, budgets=budget(month="9.5"), **RUPEES).test_client()
    error = client.post("/llm/chat", json={"prompt": "hi"}).json["error"]
    assert error["message"] == (
        "This answer could cost ₹10, more than your whole budget of ₹9.5 a month. Ask for a shorter answer."
    )
    assert not upstream.requests


def test_every_owner_may_have_a_budget_of_its_own(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    llm = llm_of(upstream)
    limits: dict[str, Any] = {"poor": budget(day="1"), "rich": None, "odd": {"weekly": 5}}
    asking: list[str] = []
    llm.authorize(lambda: asking[-1])
    llm.budget(lambda owner: limits[owner])
    client = make_app(llm, ledger_url=ledger.url, budgets=budget(day="100"), **RUPEES).test_client()

    def status_for(owner: str) -> int:
        asking.append(owner)
        answer = client.get("/llm/chat?prompt=hi")
        assert answer.data
        return answer.status_code

    assert [status_for(owner) for owner in ("poor", "rich", "odd")] == [402, 200, 500]
    limits["poor"] = budget(day="10")
    assert status_for("poor") == 200
    assert [row["owner"] for row in ledger.rows("SELECT owner FROM llm_stream_budgets")] == ["poor"]


# What it could cost…


def test_dearest_model_that_may_come_to_be_asked_is_reserved_for(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    dear = A_RUPEE_A_TOKEN | {"output": "2000000"}
    prices = {"scripted": A_RUPEE_A_TOKEN, "dear": dear}
    gate = Gate()
    app = make_app(
        ledger_url=ledger.url, budgets=budget(day="50"), prices=prices, max_output_tokens=10, fallback_models=["dear"]
    )
    upstream.answer("one", gate)
    events = started(app)
    assert next(events) and in_budget(ledger)[0][1:] == (0, 20)
    gate.open()
    list(events)
    assert spent(ledger) == 1


def test_question_tools_and_a_second_attempt_are_reserved_for(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    price = {"input": "1000000", "output": "1000000", "currency": "INR"}
    rupees = {"prices": {"scripted": price}, "max_output_tokens": 10, "budgets": budget(day="1000")}
    gate = Gate()
    app = make_app(ledger_url=ledger.url, retry_after_content=True, **rupees)
    upstream.answer("one", gate)
    question = estimate.most_input_tokens([{"role": "user", "content": "hi"}])
    events = started(app)
    assert next(events) and in_budget(ledger)[0][1:] == (0, 2 * (question + 10))
    gate.open()
    list(events)


def test_dearest_kind_of_tokens_is_reserved_for(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    price = {"input": "0", "output": "1000000", "reasoning": "3000000", "cache_write": "1000000", "currency": "INR"}
    app = make_app(ledger_url=ledger.url, budgets=budget(day="1000"), prices={"scripted": price}, max_output_tokens=10)
    gate = Gate()
    upstream.answer("one", gate)
    question = estimate.most_input_tokens([{"role": "user", "content": "hi"}])
    events = started(app)
    assert next(events) and in_budget(ledger)[0][1:] == (0, question + 30)
    gate.open()
    list(events)


@pytest.mark.parametrize("prices", [{}, {"scripted": {"input": "1", "output": "1"}}])
def test_model_without_a_price_in_the_currency_is_a_mistake_of_the_settings(
    make_app: MakeApp, ledger: SQLite, prices: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"LLM_STREAM_BUDGETS is in INR, but for 'scripted' .* in USD"):
        make_app(ledger_url=ledger.url, budgets=budget(day=5), prices=prices)


@pytest.mark.usefixtures("one_day")
def test_what_nobody_can_price_is_refused_unless_it_is_allowed(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    refusing = make_app(ledger_url=ledger.url, budgets={"day": "5"}).test_client()
    refused = refusing.post("/llm/chat", json={"prompt": "hi"})
    assert (refused.status_code, refused.json["error"]["code"]) == (402, "unpriced")
    assert not upstream.requests and not ledger.rows("SELECT * FROM llm_stream_usage")
    allowing = make_app(ledger_url=ledger.url, budgets={"day": "5", "unpriced": "allow"}).test_client()
    upstream.answer("one", usage={"prompt_tokens": 1, "completion_tokens": 1, "cost": 5})
    assert b"completed" in allowing.post("/llm/chat", json={"prompt": "hi"}).data
    assert spent(ledger) == 5
    assert allowing.post("/llm/chat", json={"prompt": "hi"}).status_code == 402  # nothing is left


def test_cost_in_another_currency_is_reckoned_from_the_tokens(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    client = make_app(ledger_url=ledger.url, budgets=budget(day="10"), **RUPEES).test_client()
    upstream.answer("one", usage={"prompt_tokens": 1, "completion_tokens": 3, "cost": 0.01})
    assert b"completed" in client.get("/llm/chat?prompt=hi").data
    assert spent(ledger) == 3


def test_refusal_of_the_upstream_costs_nothing(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    client = make_app(ledger_url=ledger.url, budgets=budget(day="10"), **RUPEES).test_client()
    upstream.answer(status=400)
    assert client.post("/llm/chat", json={"prompt": "hi"}).status_code == 400
    assert spent(ledger) == 0


@pytest.mark.usefixtures("one_day")
def test_generator_starts_while_anything_is_left_and_counts_what_it_reports(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    app = make_app(ledger_url=ledger.url, budgets=budget(day="10"), **RUPEES)

    def agent() -> Iterator[Any]:
        yield "one"
        yield Usage(input_tokens=1, output_tokens=1, cost=Decimal(10), currency="INR")

    app.add_url_rule("/report", view_func=lambda: llm_in(app).respond(agent()))
    client = app.test_client()
    assert b'"status":"completed"' in client.get("/report").data
    assert spent(ledger) == 10
    assert client.get("/report").status_code == 402


def test_what_cannot_be_counted_is_not_covered(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    client = make_app(ledger_url=ledger.url, budgets=budget(day="100"), **RUPEES).test_client()
    picture = [{"type": "image_url", "image_url": {"url": "https://x/y.png"}}]
    refused = client.post("/llm/chat", json={"messages": [{"role": "user", "content": picture}]})
    assert (refused.status_code, refused.json["error"]["code"]) == (402, "unpriced")
    assert not upstream.requests


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-7"])
def test_cost_that_is_no_amount_is_not_known(make_app: MakeApp, ledger: SQLite, cost: str) -> None:
    app = make_app(ledger_url=ledger.url, budgets=budget(day="10"), **RUPEES)
    app.add_url_rule("/report", view_func=lambda: llm_in(app).respond([Usage(cost=Decimal(cost), currency="INR")]))
    assert b'"status":"completed"' in app.test_client().get("/report").data
    (row,) = ledger.rows("SELECT status, cost FROM llm_stream_usage")
    assert (row["status"], row["cost"]) == ("completed", None)
    assert len(app.extensions["records"]) == 1


# While it runs…

ENDLESS = ["word "] * 200


@pytest.fixture
def reached(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> Iterator[Any]:
    """A client of an app whose upstream does not keep to any limit; its budget is for some 20 tokens."""
    yield make_app(ledger_url=ledger.url, budgets=budget(day="20"), **RUPEES).test_client()
    assert len(upstream.requests) == 1 and upstream.requests[0].left.wait(SOON_S)
    assert spent(ledger) <= 20
    (row,) = ledger.rows("SELECT * FROM llm_stream_usage")
    assert (row["status"], row["error_code"]) == ("over_budget", "over_budget")


def test_running_stream_that_reaches_the_limit_ends_and_keeps_its_text(upstream: Upstream, reached: Any) -> None:
    upstream.answer(*ENDLESS, Stall())
    events = read_events(reached.get("/llm/chat?prompt=hi").data)
    assert kinds_of(events) == ["start", "delta", "failure", "usage", "done"]
    assert "word word word" in text_of(events)
    failure = of_kind(events, "failure")
    assert (failure["code"], failure["retryable"]) == ("over_budget", False)
    assert failure["retry_after"] > 0
    assert of_kind(events, "done") == {"status": "over_budget"}
    assert of_kind(events, "usage")["output_tokens"] == 10


def test_json_answer_that_reaches_the_limit_keeps_its_text(upstream: Upstream, reached: Any) -> None:
    upstream.answer(*ENDLESS, Stall())
    answer = reached.post("/llm/chat", json={"prompt": "hi"}, headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json["status"], answer.json["error"]["code"]) == (402, *["over_budget"] * 2)
    assert "word word word" in answer.json["text"]


def test_openai_clients_are_told_that_the_limit_is_reached(upstream: Upstream, reached: Any) -> None:
    upstream.answer(*ENDLESS, Stall())
    asked = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    *_, error, end, _ = reached.post("/llm/v1/chat/completions", json=asked).text.split("\n\n")
    told = json.loads(error.removeprefix("data: "))["error"]
    assert (told["code"], told["type"], end) == ("over_budget", "insufficient_quota", "data: [DONE]")


def test_use_chat_is_told_that_the_limit_is_reached(upstream: Upstream, reached: Any) -> None:
    upstream.answer(*ENDLESS, Stall())
    asked = {"id": "c", "messages": [{"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
    told = [json.loads(line[6:]) for line in reached.post("/llm/ui/chat", json=asked).text.split("\n\n")[:-2]]
    assert [chunk["type"] for chunk in told[-4:]] == ["text-end", "finish-step", "message-metadata", "error"]
    assert told[-2]["messageMetadata"]["status"] == "over_budget"
    assert told[-1]["errorText"].startswith("Your budget of ₹20 for today is used up, so the answer was stopped.")


def test_agents_are_told_that_the_limit_is_reached(upstream: Upstream, reached: Any) -> None:
    upstream.answer(*ENDLESS, Stall())
    asked: dict[str, Any] = {"threadId": "t", "runId": "r", "tools": [], "context": []}
    asked["messages"] = [{"id": "m", "role": "user", "content": "hi"}]
    *_, last, _ = reached.post("/llm/agui", json=asked).text.split("\n\n")
    told = json.loads(last.removeprefix("data: "))
    assert (told["type"], told["code"], told["metadata"]["status"]) == ("RUN_ERROR", *["over_budget"] * 2)


def test_answer_that_outgrows_its_worst_case_goes_on_while_the_budget_lasts(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    client = make_app(ledger_url=ledger.url, budgets=budget(day="1000"), **RUPEES).test_client()
    upstream.answer(*ENDLESS)
    assert of_kind(read_events(client.get("/llm/chat?prompt=hi").data), "done")["status"] == "completed"
    assert spent(ledger) == 200


def test_figures_of_the_provider_count_while_it_runs(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    """Thoughts that nobody is shown are paid for, too."""
    client = make_app(ledger_url=ledger.url, budgets=budget(day="20"), **RUPEES).test_client()
    so_far = [{"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": count}} for count in (15, 21)]
    upstream.answer("thinking", so_far[0], Pause(0.01), so_far[1], Stall())
    events = read_events(client.get("/llm/chat?prompt=hi").data)
    assert of_kind(events, "done")["status"] == "over_budget"
    assert spent(ledger) == 21  # it tells when it is too late


def test_stream_of_a_worker_that_was_killed_holds_nothing(upstream: Upstream, serve: Serve, ledger: SQLite) -> None:
    settings: dict[str, Any] = {"ledger_url": ledger.url, "budgets": budget(month="1000")} | RUPEES
    upstream.answer("one", Stall())
    killed, _ = serve(upstream, **settings), serve(upstream, **settings)
    Connection.get(killed.port, "/llm/chat?prompt=hi").read_until("one")
    worker = killed.worker()["pid"]
    killed.process.kill()
    os.kill(worker, signal.SIGKILL)
    eventually(lambda: not ledger.rows("SELECT * FROM llm_stream_reservations"), "the release", 60)
    assert spent(ledger) == 10  # nobody knows better


# Settings…


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ({}, "LLM_STREAM_BUDGETS is wrong: Expected a limit for `day`, for `month` or for both"),
        ({"daily": 5}, "LLM_STREAM_BUDGETS is wrong: Object contains unknown field `daily`"),
        ({"day": "much"}, "LLM_STREAM_BUDGETS.day is wrong"),
        ({"day": -1}, "LLM_STREAM_BUDGETS is wrong: Expected an amount from 0"),
        ({"day": "NaN"}, "LLM_STREAM_BUDGETS is wrong: Expected an amount from 0"),
        ({"day": 5, "currency": "rupees"}, "LLM_STREAM_BUDGETS.currency is wrong"),
        ({"day": 5, "unpriced": "maybe"}, "LLM_STREAM_BUDGETS.unpriced is wrong"),
        (5, "Write lists and tables as JSON in environment variables"),
    ],
)
def test_wrong_budget_is_named(make_app: MakeApp, ledger: SQLite, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        make_app(ledger_url=ledger.url, budgets=value)


def test_budget_needs_the_ledger(upstream: Upstream, make_app: MakeApp) -> None:
    with pytest.raises(ConfigError, match="LLM_STREAM_LEDGER_URL"):
        make_app(budgets=budget(day=5), **RUPEES)
    llm = llm_of(upstream)
    llm.budget(lambda owner: None)
    with pytest.raises(ConfigError, match="LLM_STREAM_LEDGER_URL"):
        make_app(llm)


def llm_of(upstream: Upstream) -> LLMStream:
    return LLMStream("llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="sk-secret"))


def llm_in(app: Flask) -> LLMStream:
    (llm,) = (found for found in app.blueprints.values() if isinstance(found, LLMStream))
    return llm


def started(app: Flask) -> Iterator[Any]:
    with app.app_context():
        return llm_in(app).events(prompt="hi")


def test_question_that_is_asked_again_is_reserved_again(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    """An attempt that broke has to be paid for: what was reserved covers the question once."""
    prices = {"scripted": {"input": "1000000", "output": "0", "currency": "INR"}}
    limits = {"budgets": budget(day=40), "prices": prices, "max_output_tokens": 10, "retries": 4}
    app = make_app(ledger_url=ledger.url, **limits)
    for _ in range(4):
        upstream.answer(Cut())
    upstream.answer("never asked")
    events = read_events(app.test_client().get("/llm/chat?prompt=hi").data)
    assert of_kind(events, "done")["status"] == "over_budget"
    assert 1 < len(upstream.requests) < 4
    assert spent(ledger) == len(upstream.requests) * 8 <= 40


def test_function_that_comes_after_the_registration_is_refused() -> None:
    app = Flask("late")
    app.config["LLM_STREAM_PUBLIC"] = True
    llm = LLMStream("llm", __name__, model="m")
    app.register_blueprint(llm)
    with pytest.raises(RuntimeError, match=r"before app.register_blueprint\(\)"):
        llm.budget(lambda owner: None)
