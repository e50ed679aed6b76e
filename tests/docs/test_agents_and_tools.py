"""docs/guides/agents_and_tools.md: the page's tools and its agents, with a scripted model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..calling import call
from ..calling import calling
from ..conftest import Event
from ..conftest import kinds_of
from ..conftest import of_kind
from ..conftest import require
from ..conftest import text_of
from ..pages import Running
from ..pages import page as page_of
from . import transcripts

RUNS = {"docs/guides/agents_and_tools.md": ["python", "html", "console"]}

AGENTS = page_of("docs/guides/agents_and_tools.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"


@pytest.fixture
def module(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with AGENTS.imported(tmp_path) as module:
        yield module
        module.llm.close()


@pytest.fixture
def server(upstream: Upstream, tmp_path: Path) -> Iterator[Running]:
    folder = AGENTS.write(tmp_path)
    with Running(COMMAND, folder, OPENAI_BASE_URL=upstream.base_url) as server:
        yield server


def asked(module: ModuleType, path: str) -> list[Event]:
    return read_events(module.app.test_client().get(path).data)


def test_events_of_a_call_are_those_that_the_page_shows(server: Running, upstream: Upstream) -> None:
    require("curl", "curl")
    calling(upstream, call("weather", city="Pune"), usage={"prompt_tokens": 12, "completion_tokens": 8})
    upstream.answer("It is clear in Pune.", usage={"prompt_tokens": 19, "completion_tokens": 6})
    transcripts.check(AGENTS, server.shell)


def test_model_is_told_what_a_tool_says(module: ModuleType, upstream: Upstream) -> None:
    calling(upstream, call("weather", city="Rome"), call("search", id="call_2", query="sse"))
    upstream.answer("Sorry.")
    events = asked(module, "/llm/chat?prompt=weather")
    assert of_kind(events, "data") == {"name": "progress", "data": {"text": "Searching for sse"}, "transient": True}
    told = [message["content"] for message in upstream.requests[1].json["messages"] if message["role"] == "tool"]
    assert told == ["There is no weather station in Rome.", '[{"title":"Quickstart","url":"/quickstart"}]']


def test_a_view_chooses_the_tools(module: ModuleType, upstream: Upstream) -> None:
    upstream.answer("Clear.")
    module.app.test_client().post("/forecast", data={"question": "And today?"}).get_data()
    assert [tool["function"]["name"] for tool in upstream.requests[0].json["tools"]] == ["weather"]


@pytest.mark.browser
@pytest.mark.parametrize("button, told", [("Allow", "The note is deleted."), ("Deny", "The user wants to keep it.")])
def test_page_asks_the_user_before_the_tool_runs(
    button: str, told: str, server: Running, upstream: Upstream, page: Tab
) -> None:
    calling(upstream, call("delete_note", note=1))
    upstream.answer("Done.")
    page.goto(server.url)
    expect(page.locator("#question")).to_have_text('delete_note {"note": 1}?')
    page.get_by_role("button", name=button).click()
    expect(page.locator("#answer")).to_have_text("Done.")
    expect(page.get_by_role("button")).to_have_count(0)
    assert upstream.requests[1].json["messages"][-1]["content"] == told


def test_agent_is_one_stream_with_one_record(module: ModuleType, upstream: Upstream) -> None:
    calling(upstream, call("search", query="water"), usage={"prompt_tokens": 5, "completion_tokens": 4})
    upstream.answer("Water is wet.", usage={"prompt_tokens": 6, "completion_tokens": 3})
    upstream.answer("Because it is.", usage={"prompt_tokens": 9, "completion_tokens": 4})
    events = asked(module, "/research?question=why")
    assert kinds_of(events) == ["start", "reasoning", "delta", "usage", "done"]
    assert text_of(events) == "Because it is." and of_kind(events, "usage")["input_tokens"] == 20
    assert upstream.requests[2].json["messages"][0]["content"].endswith("Water is wet.")


def test_framework_with_its_own_client_reports_its_tokens(module: ModuleType) -> None:
    events = asked(module, "/agent?question=what")
    assert text_of(events) == "Forty-two."
    usage = of_kind(events, "usage")
    assert (usage["input_tokens"], usage["output_tokens"]) == (120, 30)
