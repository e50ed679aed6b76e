"""The example agent: one agent, read by a page of its own, by `useChat` and by AG-UI."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import expect

from .clients.agents import Agent
from .clients.agents import ag_ui_node
from .clients.agents import of_type
from .clients.test_ai_sdk import AI_SDKS
from .clients.test_ai_sdk import Chat
from .clients.test_ai_sdk import parts_of
from .conftest import GUNICORN
from .node import SCRIPTS
from .node import Node
from .node import node_folder
from .test_htmx import HtmxServer as ExampleServer

WATER = "When should I water?"
GROWTH = "How does it grow?"
DELETE = "Please delete the note about mint."


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ExampleServer]:
    server = ExampleServer(None, tmp_path, [*GUNICORN[:-1], "examples.agent.app:app"])
    yield server
    server.stop()


@pytest.fixture(scope="module")
def use_chat() -> Iterator[Node]:
    node = Node(node_folder("ai-7", AI_SDKS["ai-7"]), SCRIPTS / "ai_sdk.mjs")
    yield node
    node.close()


@pytest.fixture(scope="module")
def ag_ui() -> Iterator[Node]:
    node = ag_ui_node()
    yield node
    node.close()


@pytest.mark.browser
class TestThePage:
    @pytest.fixture
    def agent(self, page: Page, server: ExampleServer) -> Page:
        page.goto(server.url)
        return page

    def test_says_where_its_answer_comes_from(self, agent: Page) -> None:
        turn = ask(agent, WATER)
        expect(turn.get_by_role("link", name="Basil")).to_have_attribute("href", "/notes/1")
        expect(turn.locator(".text")).to_contain_text("Water it every second day")
        expect(turn.locator("summary")).to_have_text("search_notes")

    def test_draws_what_the_tool_sends_as_data(self, agent: Page) -> None:
        turn = ask(agent, GROWTH)
        expect(turn.get_by_role("img", name="The growth of Basil: 3, 5, 9, 14 cm")).to_be_visible()
        expect(turn.locator(".text")).to_contain_text("The chart is drawn.")

    def test_asks_before_it_deletes(self, agent: Page, server: ExampleServer) -> None:
        turn = ask(agent, DELETE)
        expect(turn.get_by_text("May the agent call delete_note?")).to_be_visible()
        assert server.get("/notes/2").status_code == 200
        turn.get_by_role("button", name="Allow").click()
        expect(turn.locator(".text").last).to_contain_text("The note about Mint is deleted.")
        assert server.get("/notes/2").status_code == 404
        turn = ask(agent, WATER)  # the conversation goes on
        expect(turn.locator(".text")).to_contain_text("Water it every second day")

    def test_keeps_what_the_user_does_not_let_go(self, agent: Page, server: ExampleServer) -> None:
        turn = ask(agent, DELETE)
        turn.get_by_role("button", name="Deny").click()
        expect(turn.locator(".text").last).to_contain_text("The user did not allow this call.")
        assert server.get("/notes/2").status_code == 200


def ask(page: Page, question: str) -> Locator:
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")
    return page.locator("article").last


def test_use_chat_reads_the_same_agent(use_chat: Node, server: ExampleServer) -> None:
    chat = Chat(use_chat, server)
    assert [part["title"] for part in parts_of(chat.ask(WATER), "source-url")] == ["Basil"]
    (chart,) = parts_of(chat.ask(GROWTH), "data-")
    assert chart["data"] == {"title": "Basil", "points": [3, 5, 9, 14]}
    (called,) = parts_of(chat.ask(DELETE), "tool-")
    chat("decide", question=called["approval"]["id"], approved=True)
    assert "The note about Mint is deleted." in chat.ended()["text"]
    assert server.get("/notes/2").status_code == 404


def test_ag_ui_reads_the_same_agent(ag_ui: Node, server: ExampleServer) -> None:
    agent = Agent(ag_ui, server)
    customs: list[Any] = of_type(agent.ask(WATER), "CUSTOM")
    assert [event["value"]["title"] for event in customs] == ["Basil"]
    (chart,) = of_type(agent.ask(GROWTH), "CUSTOM")
    assert (chart["name"], chart["value"]["points"]) == ("chart", [3, 5, 9, 14])
    shown = agent.ask(DELETE)
    (interrupt,) = shown["interrupts"]
    shown = agent.ask(
        "", resume=[{"interruptId": interrupt["id"], "status": "resolved", "payload": {"approved": True}}]
    )
    assert "The note about Mint is deleted." in shown["text"]
    assert server.get("/notes/2").status_code == 404
