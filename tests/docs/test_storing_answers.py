"""docs/guides/storing_answers.md: each answer is in the database, however its stream ended."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import get_args

import msgspec
import pytest
from flask.testing import FlaskClient

from llm_stream import Answer
from llm_stream.events import Status
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..pages import Running
from ..pages import page

RUNS = {"docs/guides/storing_answers.md": ["python", "bash", "console"]}

STORING = page("docs/guides/storing_answers.md")


@pytest.fixture
def module(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with STORING.imported(tmp_path) as module:
        yield module
        module.llm.close()
        with module.app.app_context():
            module.db.engine.dispose()


@pytest.fixture
def client(module: ModuleType) -> FlaskClient:
    client: FlaskClient = module.app.test_client()
    return client


def asked(client: FlaskClient, question: str, key: str) -> str:
    return client.post("/conversations/7/ask", json={"question": question, "key": key}).text


def turns(module: ModuleType) -> list[tuple[str, str, list[str]]]:
    with module.app.app_context():
        return [
            (turn.question["content"], turn.status, [message["content"] for message in turn.answer])
            for turn in module.Turn.query.order_by(module.Turn.id)
        ]


def test_broken_answer_is_stored_and_sent_again(module: ModuleType, client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Fi", Cut())
    assert "failed" in asked(client, "How are you?", "k1")
    upstream.answer("Hello!")
    assert "completed" in asked(client, "Hi", "k2")
    sent = [(message["role"], message["content"]) for message in upstream.requests[-1].json["messages"]]
    assert sent == [("user", "How are you?"), ("assistant", "Fi"), ("user", "Hi")]
    assert turns(module) == [("How are you?", "failed", ["Fi"]), ("Hi", "completed", ["Hello!"])]


def test_question_that_is_sent_twice_is_stored_and_bought_once(
    module: ModuleType, client: FlaskClient, upstream: Upstream
) -> None:
    upstream.answer("Hello!")
    assert asked(client, "Hi", "k1") == asked(client, "Hi", "k1")
    assert turns(module) == [("Hi", "completed", ["Hello!"])]
    assert len(upstream.requests) == 1


def test_late_answer_is_stored_with_its_own_question(
    module: ModuleType, client: FlaskClient, upstream: Upstream
) -> None:
    gate = Gate()
    upstream.answer("Late", gate)
    upstream.answer("Soon")
    first = client.post("/conversations/7/ask", json={"question": "one", "key": "k1"})
    asked(client, "two", "k2")
    gate.open()
    first.get_data()
    assert turns(module) == [("one", "completed", ["Late"]), ("two", "completed", ["Soon"])]


def test_refused_visitor_writes_nothing(
    module: ModuleType, client: FlaskClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module.llm, "_authorize", lambda: None)
    assert client.post("/conversations/7/ask", json={"question": "Hi", "key": "k1"}).status_code == 401
    assert not turns(module)


def test_second_call_of_the_hook_changes_nothing(module: ModuleType, client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello!")
    stream = client.post("/conversations/7/ask", json={"question": "Hi", "key": "k1"})
    stream.get_data()
    with module.app.app_context():
        again = module.llm.stream(stream.headers["x-llm-stream-id"]).answer
        module.store(msgspec.structs.replace(again, status="interrupted", messages=[]))
    assert turns(module) == [("Hi", "completed", ["Hello!"])]


def test_answer_of_another_route_is_left_alone(module: ModuleType, client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello!")
    assert "completed" in client.get("/llm/chat?prompt=hi").text
    assert not turns(module)


def test_commands_of_the_page_show_both_turns(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer("Armin Ronacher.")
    upstream.answer("In 2010.")
    commands = [line.removeprefix("$ ") for line in STORING.block("console").splitlines() if line.startswith("$ ")]
    shown = STORING.block("console").partition('turn"), sep="\\n")\'\n')[2]
    with Running(STORING.block("bash"), STORING.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        printed = "".join(server.shell(command) for command in commands)
    assert shown and printed == shown
    assert len(upstream.requests[1].json["messages"]) == 3


def test_tables_name_every_attribute_of_an_answer_and_every_status() -> None:
    attributes = STORING.text.partition("## What an answer has")[2].partition("## When")[0]
    assert not [name for name in Answer.__struct_fields__ if f"`{name}`" not in attributes]
    endings = STORING.text.partition("## Every ending")[2].partition("## What")[0]
    assert not [status for status in get_args(Status) if f"| `{status}`" not in endings]
