"""docs/guides/moving.md: the page's own lines, before and after, read by the same client."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from playwright.sync_api import Page as Tab

from llm_stream.testing import Cut
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..pages import Running
from ..pages import page

RUNS = {"docs/guides/moving.md": ["python", "js", "bash"]}

MOVING = page("docs/guides/moving.md")
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello?"}]}


@pytest.fixture
def before(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from module_of("before.py", upstream, tmp_path, monkeypatch)


@pytest.fixture
def after(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    yield from module_of("app.py", upstream, tmp_path, monkeypatch)


def module_of(file: str, upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with MOVING.imported(folder, file) as module:
        yield module
        if hasattr(module, "llm"):
            module.llm.close()
        module.client.close()


def test_the_lines_on_the_wire_are_the_same(before: ModuleType, after: ModuleType, upstream: Upstream) -> None:
    upstream.answer("Hello", " there")
    was = before.app.test_client().post("/chat", json=QUESTION).text
    upstream.answer("Hello", " there")
    is_now = after.app.test_client().post("/chat", json=QUESTION).text
    assert data_of(was) == data_of(is_now) == ["Hello", " there", "[DONE]"]


def data_of(body: str) -> list[str]:
    lines = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: ")]
    return list(filter(None, lines))


def test_a_failure_ends_the_text_with_a_sentence(after: ModuleType, upstream: Upstream) -> None:
    upstream.answer("Hello", Cut())
    assert (
        "data: [Response interrupted. Please try again.]" in after.app.test_client().post("/chat", json=QUESTION).text
    )


def test_routes_of_the_blueprint_are_closed(after: ModuleType) -> None:
    client = after.app.test_client()
    assert client.get("/llm/chat?prompt=hi").status_code == 401
    for path in ("chat", "streams", "v1/chat/completions", "v1/responses", "ui/chat", "agui"):
        assert client.post(f"/llm/{path}", json=QUESTION).status_code == 401, path
    with client.get("/llm/static/llm-stream.js") as module:
        assert module.status_code == 200


def test_page_stops_an_answer_at_once(upstream: Upstream, tmp_path: Path, page: Tab) -> None:
    (command,) = [line for line in MOVING.block("bash").splitlines() if line.startswith("gunicorn")]
    upstream.answer("Hello", Stall())
    with Running(
        f"{command} --bind 127.0.0.1:8000", MOVING.write(tmp_path), OPENAI_BASE_URL=upstream.base_url
    ) as server:
        page.goto(f"{server.url}/llm/healthz")
        stop = MOVING.block("js", "stop(response)").replace("export ", "").partition("\n")[2]
        question = {"method": "POST", "headers": {"Content-Type": "application/json"}, "body": json.dumps(QUESTION)}
        page.evaluate(f"async init => {{ {stop}; await stop(await fetch('/chat', init)); }}", question)
        assert "status=cancelled" in server.line("stream=")


def test_page_that_splits_at_empty_lines_finds_the_text(after: ModuleType, upstream: Upstream, page: Tab) -> None:
    upstream.answer("one\ntwo", " three")
    body = after.app.test_client().post("/chat", json=QUESTION).text
    function = MOVING.block("js", "textOf").replace("export ", "")
    page.set_content("<p></p>")
    assert page.evaluate(f"body => {{ {function}; return body.split('\\n\\n').map(textOf).join('') }}", body) == (
        "one\ntwo three[DONE]"
    )


def test_a_refusal_of_the_provider_has_its_status(after: ModuleType, upstream: Upstream) -> None:
    upstream.answer(status=400)
    assert after.app.test_client().post("/translate", json={"text": "Hello"}).status_code == 400


def test_a_stream_of_the_sdk_is_passed_on(after: ModuleType, upstream: Upstream) -> None:
    upstream.answer("Bonjour")
    assert "data: Bonjour" in after.app.test_client().post("/translate", json={"text": "Hello"}).text


@pytest.mark.parametrize(("path", "text"), [("/numbers", "one two three"), ("/agent", "thinking aloud")])
def test_generators_are_streamed(after: ModuleType, path: str, text: str) -> None:
    deltas = [line for line in after.app.test_client().get(path).text.splitlines() if '"text"' in line]
    assert "".join(line.split('"')[3] for line in deltas) == text
