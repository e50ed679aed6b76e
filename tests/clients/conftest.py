"""One server and one upstream for all tests of a module, and the tabs of a visitor."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream import Data
from llm_stream import Source
from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..conftest import Server
from ..conftest import eventually
from ..here import Here
from ..node import Node
from .agents import Agent
from .agents import Open
from .agents import ag_ui_node
from .scripts import PRICES

BLANK = "/llm/static/llm-stream.d.ts"
"""A page of the server's own origin that does nothing by itself."""


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    """The tabs of one visitor; an error that no script of theirs catches fails the test."""
    context = browser.new_context()
    problems: list[str] = []
    context.on("weberror", lambda problem: problems.append(str(problem.error)))
    yield context
    context.close()
    assert not problems


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(
    request: pytest.FixtureRequest, upstream: Upstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """With the `SETTINGS` of the module, if it has any."""
    usual = {"prices": PRICES, "disconnect_grace_s": 8, "max_streams_per_owner": 100}
    settings = getattr(request.module, "SETTINGS", usual)
    server = Server(upstream, tmp_path_factory.mktemp("server"), **settings)
    yield server
    eventually(server.at_rest, "rest")
    server.process.kill()
    server.process.wait()


@pytest.fixture(autouse=True)
def upstream_starts_afresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """What one test has asked for, or has left to be asked for, is not another's."""
    if "upstream" not in request.fixturenames:
        yield
        return
    upstream: Upstream = request.getfixturevalue("upstream")
    upstream.requests.clear()
    yield
    waiting = upstream.waiting
    upstream.clear()
    assert not waiting, "a script was not asked for"


@pytest.fixture
def open_tab(context: Any, server: Server) -> Callable[..., Page]:
    """A tab of the same visitor, at a blank page of the server's."""

    def open_tab(url: str | None = None) -> Page:
        page: Page = context.new_page()
        page.goto((url or server.url) + BLANK)
        return page

    return open_tab


@pytest.fixture
def tab(open_tab: Callable[..., Page]) -> Page:
    return open_tab()


@pytest.fixture(scope="module")
def ag_ui() -> Iterator[Node]:
    node = ag_ui_node()
    yield node
    node.close()


@pytest.fixture
def agent(ag_ui: Node, server: Server) -> Open:
    """Opens an agent of AG-UI's client."""
    return lambda **options: Agent(ag_ui, server, **options)


@pytest.fixture
def searching(upstream: Upstream) -> Iterator[Here]:
    """A server whose model searches, by a tool that runs there, and then says "Found."."""
    here = Here(upstream, models=["openai/gpt-4o-mini", "gpt-4o-mini"])

    @here.llm.tool
    def search(words: str) -> Generator[Any, None, list[str]]:
        yield Source("https://example.com/a", "A", start=0, end=5)
        yield Data("map", {"zoom": 1}, id="m")
        return [words]

    calling(upstream, call("search", words="x"))
    upstream.answer("Found.")
    yield here
    here.close()


@pytest.fixture
def deleting(upstream: Upstream) -> Iterator[tuple[Here, list[int]]]:
    """A server whose model deletes a note, once somebody has allowed it."""
    here, deleted = Here(upstream, models=["gpt-4o-mini"]), []

    @here.llm.tool(needs_approval=True)
    def delete_note(note: int) -> str:
        deleted.append(note)
        return "It is gone."

    calling(upstream, call("delete_note", id="call_1", note=7))
    upstream.answer("Done.")
    yield here, deleted
    here.close()
