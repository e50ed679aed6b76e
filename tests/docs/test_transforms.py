"""docs/guides/transforms.md: the app that the page shows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..calling import calling
from ..conftest import kinds_of
from ..conftest import of_kind
from ..pages import Running
from ..pages import page

RUNS = {"docs/guides/transforms.md": ["python", "bash", "console"]}

TRANSFORMS = page("docs/guides/transforms.md")


@pytest.fixture
def client(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlaskClient]:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    with TRANSFORMS.imported(tmp_path) as module:
        yield module.app.test_client()
        module.llm.close()


def test_a_word_in_two_pieces_is_hidden(upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer("It is hun", "ter2, I think.")
    command, _, shown = TRANSFORMS.block("console").partition("\n")
    start = TRANSFORMS.block("bash").splitlines()[1]
    with Running(start, TRANSFORMS.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server:
        assert server.shell(command.removeprefix("$ ")) == shown


def test_an_event_is_added_after_the_text(client: FlaskClient, upstream: Upstream) -> None:
    upstream.answer("Hello")
    events = read_events(client.get("/llm/chat?prompt=hi").data)
    assert kinds_of(events) == ["start", "delta", "data", "usage", "done"]
    assert of_kind(events, "data") == {"name": "written_by", "data": {"model": True}}


def test_an_early_return_ends_the_answer(client: FlaskClient, upstream: Upstream) -> None:
    calling(upstream, {"id": "c", "function": {"name": "order_pizza", "arguments": "{}"}}, text="Yes. ")
    events = read_events(client.get("/llm/chat?prompt=hi").data)
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "content_filter"}
    assert not [kind for _, kind, _ in events if kind == "tool_call"]
