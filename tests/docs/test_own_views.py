"""docs/guides/own_views.md: the app that the page builds."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from flask.testing import FlaskClient

from llm_stream import Done
from llm_stream import Reasoning
from llm_stream import Usage
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..conftest import eventually
from ..conftest import kinds_of
from ..conftest import of_kind
from ..conftest import text_of
from ..pages import Running
from ..pages import page

RUNS = {"docs/guides/own_views.md": ["python", "console", "bash"]}

OWN_VIEWS = page("docs/guides/own_views.md")


@pytest.fixture
def module(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with OWN_VIEWS.imported(tmp_path) as module:
        yield module
        module.llm.close()
        module.support_desk.close()


@pytest.fixture
def client(module: ModuleType) -> FlaskClient:
    client: FlaskClient = module.app.test_client()
    return client


def test_a_view_adds_its_system_prompt(client: FlaskClient, upstream: Upstream) -> None:
    asked = {"messages": [{"role": "user", "content": "Do you sell tea?"}]}
    upstream.answer("Yes.")
    assert text_of(read_events(client.post("/support", json=asked).data)) == "Yes."
    assert [message["role"] for message in upstream.requests[0].json["messages"]] == ["system", "user"]
    asked["messages"][0]["role"] = "system"
    assert client.post("/support", json=asked).status_code == 422


def test_a_generator_is_streamed(client: FlaskClient) -> None:
    assert text_of(read_events(client.get("/countdown").data)) == "3 2 1 Go."


def test_calls_inside_a_generator_are_part_of_its_stream(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Water is wet.", usage={"prompt_tokens": 5, "completion_tokens": 4})
    upstream.answer("Because.", usage={"prompt_tokens": 7, "completion_tokens": 1})
    events = read_events(client.get("/research?question=why").data)
    assert text_of(events) == "Here is what I found.\n\nBecause."
    assert kinds_of(events).count("done") == 1 and of_kind(events, "usage")["input_tokens"] == 12
    assert "Water is wet." in upstream.requests[1].json["messages"][0]["content"]


def test_a_command_streams_without_a_request(module: ModuleType, upstream: Upstream) -> None:
    upstream.answer("No news.")
    assert module.app.test_cli_runner().invoke(args=["digest"]).output == "No news."


def test_items_of_a_generator_are_what_the_table_says(module: ModuleType) -> None:
    def items() -> Iterator[Any]:
        yield Reasoning("Hm.")
        yield ["one ", None, "", "two"]
        yield Usage(input_tokens=3, output_tokens=2)
        yield Done("incomplete", "enough")
        yield "too late"

    def broken() -> Iterator[str]:
        yield "one"
        raise ValueError

    with module.app.test_request_context():
        events = read_events(module.llm.respond(items()).get_data())
        failed = read_events(module.llm.respond(broken()).get_data())
    assert kinds_of(events) == ["start", "reasoning", "delta", "usage", "done"] and text_of(events) == "one two"
    assert of_kind(events, "usage") == {"input_tokens": 3, "output_tokens": 2, "source": "provider"}
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "enough"}
    assert of_kind(failed, "failure")["code"] == "internal"


def test_an_answer_is_started_now_and_read_later(client: FlaskClient) -> None:
    started = client.post("/reports")
    assert started.status_code == 202 and started.json is not None
    assert text_of(read_events(client.get(started.json["url"]).data)) == "3 2 1 Go."


def test_a_view_stops_a_stream(client: FlaskClient, module: ModuleType, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    stream_id = client.post("/llm/streams", json={"prompt": "Hi"}).json["id"]
    eventually(lambda: client.get(f"/status/{stream_id}").json == {"state": "running", "text": "Hel"})
    assert client.post(f"/status/{stream_id}/stop").status_code == 204
    eventually(lambda: client.get(f"/status/{stream_id}").json == {"state": "cancelled", "text": "Hel"})


def test_a_stream_is_found_by_its_id(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Short.")
    answer = client.post("/summarise", data={"text": "A long text."})
    assert answer.get_data()
    assert client.get(f"/status/{answer.headers['x-llm-stream-id']}").json == {"state": "completed", "text": "Short."}
    assert client.get("/status/none").status_code == 404


def test_pages_of_other_origins_may_ask_a_view(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("LLM_STREAM_ORIGINS", '["https://shop.example"]')
    headers = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with OWN_VIEWS.imported(tmp_path) as module:
        allowed = module.app.test_client().options("/summary", headers=headers)
    assert allowed.headers["Access-Control-Allow-Origin"] == "https://shop.example"


def test_a_prefix_has_a_tenant(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    assert text_of(read_events(client.get("/t/acme/llm/chat?prompt=hi").data)) == "Hello"


def test_commands_of_the_page_print_what_it_shows(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer("Flask is a small", " web framework.")
    command = OWN_VIEWS.block("bash")
    summarise, repeated = OWN_VIEWS.blocks_of("console")
    with Running(command, OWN_VIEWS.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        asked, _, shown = summarise.partition("\n")
        assert without_ids(server.shell(asked.removeprefix("$ "))) == without_ids(shown)
        upstream.answer("Hello", " there")
        first, second = [server.shell(line.removeprefix("$ ")) for line in repeated.splitlines()]
    assert first == second and text_of(read_events(first.encode())) == "Hello there"
    assert len(upstream.requests) == 2


def without_ids(text: str) -> str:
    return re.sub(r"[0-9a-f]{20}", "", text).strip()
