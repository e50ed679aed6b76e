"""examples/chat_app in Chromium, with two users: the database has each answer once, with its status. Real gunicorn."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import SOON_S
from .conftest import Server
from .conftest import eventually
from .databases import SQLite

pytestmark = pytest.mark.browser

APP = "examples.chat_app.app"
PASSWORD = "correct horse"
SYSTEM = {"role": "system", "content": "You answer in the language of the question, briefly and in plain words."}

LogIn = Callable[["ChatApp", str], Page]


class ChatApp(Server):
    """The app, with the users Ann and Bob. Bob may spend next to nothing."""

    def __init__(self, upstream: Upstream, folder: Path) -> None:
        self.database = SQLite(folder)
        self.ledger = SQLite(folder)
        self._flask = {
            "FLASK_SECRET_KEY": "secret",
            "FLASK_SQLALCHEMY_DATABASE_URI": self.database.url,
            "FLASK_LLM_STREAM_LEDGER_URL": self.ledger.url,
        }
        self._add_user("ann", "--dollars", "1")
        self._add_user("bob", "--dollars", "0.00001")
        command = [*GUNICORN[:-1], "--graceful-timeout", "2", f"{APP}:app"]
        super().__init__(upstream, folder, command, **self._flask)

    def _add_user(self, *arguments: str) -> None:
        flask = [sys.executable, "-m", "flask", "--app", APP, "add-user", "--password", PASSWORD]
        environment = os.environ | self._flask | {"OPENAI_API_KEY": "none"}
        subprocess.run([*flask, *arguments], cwd=ROOT, env=environment, check=True)

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return httpx2.get(f"{self.url}/login", timeout=PATIENCE_S).status_code == 200
        except httpx2.TransportError:
            return False

    def turns(self) -> list[dict[str, Any]]:
        return self.database.rows("SELECT * FROM turn ORDER BY id")

    def forget(self) -> None:
        for table in ("turn", "conversation"):
            self.database.rows(f"DELETE FROM {table}")

    def turn(self, status: str) -> dict[str, Any]:
        """The only turn, once it has this status."""
        eventually(lambda: [turn["status"] for turn in self.turns()] == [status], f"a turn that is {status}")
        (turn,) = self.turns()
        return turn

    def child(self) -> int:
        """The process of the worker."""
        (pid,) = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(pid)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def running(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ChatApp]:
    app = ChatApp(upstream, tmp_path_factory.mktemp("chat"))
    yield app
    app.stop()


@pytest.fixture
def app(running: ChatApp, upstream: Upstream) -> ChatApp:
    """Without conversations."""
    running.forget()
    upstream.clear()
    upstream.requests.clear()
    return running


@pytest.fixture
def log_in(browser: Any) -> Iterator[LogIn]:
    contexts: list[Any] = []
    problems: list[str] = []

    def log_in(app: ChatApp, name: str) -> Page:
        contexts.append(browser.new_context())
        page: Page = contexts[-1].new_page()
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(app.url)
        page.get_by_label("Name").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        page.get_by_label("Question").wait_for()
        return page

    yield log_in
    for context in contexts:
        context.close()
    assert not problems


def ask(page: Page, question: str) -> None:
    expect(page.get_by_role("button", name="Send")).to_be_enabled()
    page.get_by_label("Question").fill(question)
    page.keyboard.press("Enter")


def said(page: Page, text: str) -> None:
    """The page shows this answer as its last one."""
    expect(page.locator(".answer").last).to_have_text(text)


def state(page: Page, text: str) -> None:
    expect(page.locator(".state").last).to_contain_text(text)


def test_conversation_is_stored_shown_again_and_sent_again(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer("Hello Ann")
    ask(page, "I am Ann")
    said(page, "Hello Ann")
    state(page, "USD")
    upstream.answer("Ann")
    ask(page, "Who am I?")
    said(page, "Ann")
    state(page, "USD")
    page.get_by_text("New conversation").click()
    page.get_by_text("I am Ann").click()
    expect(page.locator(".question")).to_have_text(["I am Ann", "Who am I?"])
    expect(page.locator(".answer")).to_have_text(["Hello Ann", "Ann"])
    assert upstream.request(1).json["messages"] == [
        SYSTEM,
        {"role": "user", "content": "I am Ann"},
        {"role": "assistant", "content": "Hello Ann"},
        {"role": "user", "content": "Who am I?"},
    ]
    first, second = app.turns()
    assert (first["status"], second["status"]) == ("completed", "completed")
    assert (first["text"], second["text"]) == ("Hello Ann", "Ann")
    assert first["conversation_id"] == second["conversation_id"]
    assert first["cost"].endswith(" USD")


def test_users_see_their_own_conversations_and_usage(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    ann, bob = log_in(app, "ann"), log_in(app, "bob")
    upstream.answer("For Ann", usage={"prompt_tokens": 9, "completion_tokens": 5})
    ask(ann, "A secret")
    said(ann, "For Ann")
    state(ann, "5 tokens")
    answer = bob.goto(ann.url)
    assert answer and answer.status == 404
    stream_id = app.turn("completed")["stream_id"]
    answer = bob.goto(f"{app.url}/llm/streams/{stream_id}")
    assert answer and answer.status == 404
    bob.goto(app.url)
    expect(bob.get_by_text("A secret")).to_have_count(0)
    assert stream_id in ann.request.get(f"{app.url}/llm/usage.csv").text()
    assert stream_id not in bob.request.get(f"{app.url}/llm/usage.csv").text()


def test_user_who_has_spent_the_budget_is_refused_and_others_are_not(
    app: ChatApp, upstream: Upstream, log_in: LogIn
) -> None:
    ann, bob = log_in(app, "ann"), log_in(app, "bob")
    ask(bob, "More, please")
    state(bob, "budget")
    assert app.turn("refused")["stream_id"] is None
    assert not upstream.requests, "nothing was bought"
    upstream.answer("Hello")
    ask(ann, "hi")
    said(ann, "Hello")


def test_answer_goes_on_after_a_reload(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    gate = Gate()
    upstream.answer("One ", gate, "two")
    ask(page, "Count")
    said(page, "One ")
    assert app.turn("running")["text"] == ""
    page.reload()
    said(page, "One ")
    gate.open()
    said(page, "One two")
    state(page, "USD")
    assert app.turn("completed")["text"] == "One two"
    assert len(upstream.requests) == 1


def test_stopped_answer_is_kept_as_far_as_it_went(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer("One ", Stall())
    ask(page, "Count")
    said(page, "One ")
    page.get_by_role("button", name="Stop").click()
    assert upstream.request(0).left.wait(SOON_S)
    state(page, "cancelled")
    assert app.turn("cancelled")["text"] == "One "
    upstream.answer("two")
    ask(page, "Go on")
    said(page, "two")
    assert upstream.request(1).json["messages"][2] == {"role": "assistant", "content": "One "}


def test_answer_can_be_stopped_before_it_says_anything(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer(Stall(before_headers=True))
    ask(page, "Count")
    page.get_by_role("button", name="Stop").click()
    state(page, "cancelled")
    assert app.turn("cancelled")["text"] == ""


def test_closed_tab_stops_the_meter(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer("One ", Stall())
    ask(page, "Count")
    said(page, "One ")
    page.close()
    assert upstream.request(0).left.wait(PATIENCE_S)
    assert app.turn("abandoned")["text"] == "One "


def test_request_that_is_sent_again_finds_its_answer(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    url = page.locator("#ask").evaluate("(form) => `${form.action}?key=k`")
    for _ in range(2):
        upstream.answer("Hello")
        response = page.request.post(url, form={"question": "hi"})
        assert "Hello" in response.text()
    assert app.turn("completed")["text"] == "Hello"
    assert len(upstream.requests) == 1


def test_answer_of_a_worker_that_is_recycled_is_interrupted(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer("One ", Stall())
    ask(page, "Count")
    said(page, "One ")
    app.process.send_signal(signal.SIGHUP)
    assert app.turn("interrupted")["text"] == "One "
    expect(page.locator(".state")).not_to_contain_text("running")
    page.reload()
    said(page, "One ")
    state(page, "interrupted")
    upstream.answer("two")
    ask(page, "Go on")
    said(page, "two")


def test_answer_of_a_worker_that_was_killed_is_interrupted(app: ChatApp, upstream: Upstream, log_in: LogIn) -> None:
    page = log_in(app, "ann")
    upstream.answer("One ", Stall())
    ask(page, "Count")
    said(page, "One ")
    os.kill(app.child(), signal.SIGKILL)
    turn = app.turn("interrupted")
    assert (turn["text"], turn["messages"]) == ("", "[]"), "the text was in the worker's memory"
    page.goto(page.url)
    state(page, "interrupted")
    upstream.answer("two")
    ask(page, "Go on")
    said(page, "two")
    state(page, "USD")
    assert [turn["status"] for turn in app.turns()] == ["interrupted", "completed"]
