"""Budgets of answers with tools: each step is reserved before the model is called."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from llm_stream import Delta
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .calling import call
from .calling import calling
from .conftest import of_kind
from .databases import SQLite
from .test_budget import RUPEES
from .test_budget import budget
from .test_budget import llm_in
from .test_budget import spent

MakeApp = Callable[..., Flask]

pytestmark = pytest.mark.usefixtures("one_day")


@pytest.fixture
def ledger(tmp_path: Path) -> SQLite:
    return SQLite(tmp_path)


def figures(output: int) -> dict[str, int]:
    return {"prompt_tokens": 1, "completion_tokens": output, "total_tokens": 1 + output}


def app_with_tool(make_app: MakeApp, ledger: SQLite, day: int, **settings: Any) -> Flask:
    app = make_app(ledger_url=ledger.url, budgets=budget(day=day), **RUPEES, **settings)

    @llm_in(app).tool
    def note() -> None: ...

    return app


def ask(app: Flask) -> Any:
    return read_events(app.test_client().get("/llm/chat?prompt=hi").data)


def test_step_that_the_budget_does_not_cover_is_not_bought(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    """Each step costs 5 and could cost 10. What a step has not used is there for the next one."""
    app = app_with_tool(make_app, ledger, day=25)
    for number in range(5):
        calling(upstream, call("note", id=f"call_{number}"), usage=figures(5))
    events = ask(app)
    assert of_kind(events, "failure")["code"] == "over_budget"
    assert of_kind(events, "done")["status"] == "over_budget"
    assert len(upstream.requests) == 4
    assert spent(ledger) == 20


def test_answer_with_steps_costs_their_sum(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    app = app_with_tool(make_app, ledger, day=25)
    calling(upstream, call("note"), usage=figures(7))
    upstream.answer("Done.", usage=figures(8))
    assert of_kind(ask(app), "done")["status"] == "completed"
    assert spent(ledger) == 15


def test_step_whose_figures_are_missing_counts_as_reserved(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    app = app_with_tool(make_app, ledger, day=19)
    calling(upstream, call("note"), usage=False)
    assert of_kind(ask(app), "done")["status"] == "over_budget"
    assert len(upstream.requests) == 1
    assert 0 < spent(ledger) < 10


def test_step_that_keeps_to_no_limit_is_cut_off_as_the_first_one_is(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    """Its limit is 10 tokens, of which we may count a quarter more, and nothing is left beyond what is reserved."""
    app = app_with_tool(make_app, ledger, day=15, idle_s=5)
    calling(upstream, call("note"), usage=figures(5))
    upstream.answer(*["word "] * 14, Stall())
    events = ask(app)
    assert of_kind(events, "done")["status"] == "over_budget"
    assert spent(ledger) <= 15


def test_model_that_a_tool_asks_is_within_the_budget(upstream: Upstream, make_app: MakeApp, ledger: SQLite) -> None:
    app = app_with_tool(make_app, ledger, day=19)
    llm = llm_in(app)

    @llm.tool
    def think() -> str:
        return "".join(event.text for event in llm.events(prompt="x") if isinstance(event, Delta))

    calling(upstream, call("think"), usage=figures(5))
    events = ask(app)
    assert of_kind(events, "done")["status"] == "over_budget"
    assert len(upstream.requests) == 1
    assert spent(ledger) == 5


def test_model_that_a_tool_asks_is_paid_from_the_same_budget(
    upstream: Upstream, make_app: MakeApp, ledger: SQLite
) -> None:
    app = app_with_tool(make_app, ledger, day=100)
    llm = llm_in(app)

    @llm.tool
    def think() -> str:
        return "".join(event.text for event in llm.events(prompt="x") if isinstance(event, Delta))

    calling(upstream, call("think"), usage=figures(5))
    upstream.answer("thought", usage=figures(6))
    upstream.answer("Done.", usage=figures(7))
    assert of_kind(ask(app), "done")["status"] == "completed"
    assert spent(ledger) == 18
