"""docs/tutorial.md: the app runs after each step, the whole app in Chromium. `make screenshots` takes the pictures."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import Route
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import ROOT
from ..conftest import eventually
from ..pages import Page
from ..pages import Running
from ..pages import page

RUNS = {"docs/tutorial.md": ["python", "html", "css", "js", "console"]}

TUTORIAL = page("docs/tutorial.md")
GUNICORN = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"
QUICKLY = f"{GUNICORN} --graceful-timeout 1"

HELLO = {"prompt_tokens": 24, "completion_tokens": 2, "total_tokens": 26}
STORY = [
    "Once upon a time, a lighthouse keeper named Ida found a bottle in the sand. ",
    "The note in it said only: “Keep the light on tonight.”\n\n",
    "So she did. The storm came at nine, ",
    "and at midnight a small boat",
]


def written(folder: Path, step: int) -> tuple[Path, Page]:
    """The app as it is at the end of a step, and the step's part of the page."""
    parts = re.split(r"^(?=## )", TUTORIAL.text, flags=re.MULTILINE)
    (folder / "until.md").write_text("".join(parts[: step + 1]))
    (folder / "step.md").write_text(parts[step])
    until, app = Page(folder / "until.md"), folder / "app"
    until.write(app)
    if styles := [block.text for block in until.blocks if block.language == "css"]:
        (app / "static").mkdir(exist_ok=True)
        (app / "static/chat.css").write_text("".join(styles))
    return app, Page(folder / "step.md")


def commands(text: str) -> list[str]:
    return [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]


@pytest.fixture(scope="module")
def shared() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture
def upstream(shared: Upstream) -> Upstream:
    """Asked for nothing yet."""
    eventually(lambda: shared.open == 0, "the end of every upstream request")
    shared.clear()
    shared.requests.clear()
    return shared


@pytest.fixture(scope="module")
def running(shared: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The whole app. Ann and Ben ask; Carla spends her budget, and Dora is in the pictures."""
    app, _ = written(tmp_path_factory.mktemp("tutorial"), 6)
    with Running(QUICKLY, app, OPENAI_BASE_URL=shared.base_url) as server:
        for name in ("ann", "ben", "carla", "dora"):
            server.shell(f"flask --app app add-user {name} --password secret")
        yield server


def test_step_1_adds_users(tmp_path: Path) -> None:
    app, step = written(tmp_path, 1)
    transcript = step.block("console")
    with Running(GUNICORN, app) as server:
        printed = [server.shell(command) for command in commands(transcript)]
    assert "".join(printed) == "".join(line + "\n" for line in transcript.splitlines() if line[0] != "$")


def test_step_2_shows_each_user_their_own_conversations(tmp_path: Path) -> None:
    app, step = written(tmp_path, 2)
    remove, *add_users, gunicorn = commands(step.block("console"))
    assert gunicorn == GUNICORN
    with Page(tmp_path / "until.md").imported(app) as module:
        for command in add_users:
            result = module.app.test_cli_runner().invoke(args=command.split()[3:])
            assert result.exit_code == 0, result.output
        assert remove == "rm instance/chat.db" and (app / "instance/chat.db").exists()
        ann, ben = module.app.test_client(), module.app.test_client()
        assert ann.get("/").headers["Location"].startswith("/login")
        assert "Wrong name or password" in ann.post("/login", data={"name": "ann", "password": "wrong"}).text
        for client, name in ((ann, "ann"), (ben, "ben")):
            assert client.post("/login", data={"name": name, "password": "secret"}).headers["Location"] == "/"
        assert ann.post("/conversations").headers["Location"] == "/conversations/1"
        assert "(empty)" in ann.get("/conversations/1").text
        assert ben.get("/conversations/1").status_code == 404
        close(module)


def test_step_3_answers_curl_and_stores_both_messages(upstream: Upstream, tmp_path: Path) -> None:
    app, step = written(tmp_path, 3)
    transcript = step.block("console")
    *prepare, ask = commands(transcript)
    upstream.answer("Hello Ann", usage=HELLO)
    with Running(GUNICORN, app, OPENAI_BASE_URL=upstream.base_url) as server:
        server.shell("flask --app app add-user ann --password secret")
        for command in prepare:
            server.shell(command)
        answers = [server.shell(ask) for _ in range(2)]
        stored = server.shell("curl -s -b cookies http://127.0.0.1:8000/conversations/1")
    assert answers[0] == answers[1]
    assert masked(answers[0]) == masked(transcript.partition(ask + "\n")[2])
    assert [request.json["messages"][1:] for request in upstream.requests] == [[{"role": "user", "content": "Hello"}]]
    assert '<p class="user">Hello</p>' in stored and '<p class="assistant">Hello Ann</p>' in stored


def test_step_4_streams_to_the_page(upstream: Upstream, tmp_path: Path, page: Tab) -> None:
    app, _ = written(tmp_path, 4)
    with Running(QUICKLY, app, OPENAI_BASE_URL=upstream.base_url) as server:
        server.shell("flask --app app add-user ann --password secret")
        log_in(page, server.url)
        gate = Gate()
        upstream.answer("One", gate, " two")
        ask(page, "Count.")
        expect(page.locator(".assistant")).to_have_text("One")
        gate.open()
        expect(page.locator(".assistant")).to_have_text("One two")


def test_question_is_not_sent_before_the_script_has_loaded(running: Running, upstream: Upstream, page: Tab) -> None:
    held: list[Route] = []
    page.route("**/static/chat.js", lambda route: held.append(route))
    with page.expect_request("**/static/chat.js"):
        log_in(page, running.url)
    shown = page.url
    page.get_by_label("Question").fill("Hi.")
    page.keyboard.press("Enter")  # the browser would leave the page
    expect(page.get_by_role("button", name="Ask")).to_be_disabled()
    held[0].continue_()
    upstream.answer("Hello")
    page.get_by_role("button", name="Ask").click()
    expect(page.locator(".assistant")).to_have_text("Hello")
    assert page.url == shown


def test_reload_continues_the_answer_and_stop_ends_it(running: Running, upstream: Upstream, page: Tab) -> None:
    log_in(page, running.url)
    gate = Gate()
    upstream.answer("One", gate, " two")
    ask(page, "Count.")
    expect(page.locator(".assistant")).to_have_text("One")
    page.reload()
    expect(page.locator(".assistant")).to_have_text("One")
    gate.open()
    expect(page.locator(".assistant")).to_have_text("One two")
    expect(page.get_by_role("button", name="Stop")).to_be_hidden()

    upstream.answer("Three", Stall())
    ask(page, "Go on.")
    expect(page.locator(".assistant").last).to_have_text("Three")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state").last).to_have_text("cancelled")
    page.reload()
    expect(page.locator(".assistant")).to_have_text(["One two", "Three"])
    assert [message["role"] for message in upstream.requests[1].json["messages"]] == [
        "system",
        *["user", "assistant"],
        "user",
    ]
    assert len(upstream.requests) == 2


def test_reload_and_stop_work_before_the_first_token(running: Running, upstream: Upstream, page: Tab) -> None:
    log_in(page, running.url)
    upstream.answer(Stall(before_headers=True))
    ask(page, "Think.")
    page.get_by_role("button", name="Stop").wait_for()
    page.reload()
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state")).to_have_text("cancelled")
    page.reload()
    expect(page.locator(".state")).to_have_text("cancelled")
    assert len(upstream.requests) == 1


def test_provider_that_refuses_is_named_on_the_page(running: Running, upstream: Upstream, page: Tab) -> None:
    log_in(page, running.url)
    upstream.answer(status=401)
    ask(page, "Hi.")
    expect(page.locator(".state")).to_contain_text("The model is not available")


def test_closed_tab_ends_the_answer_and_its_text_is_stored(running: Running, upstream: Upstream, page: Tab) -> None:
    log_in(page, running.url)
    upstream.answer("One", Stall())
    ask(page, "Count.")
    expect(page.locator(".assistant")).to_have_text("One")
    shown = page.url
    page.goto("about:blank")
    assert "owner='ann'" in running.line("status=abandoned")
    page.goto(shown)
    expect(page.locator(".assistant")).to_have_text("One")
    expect(page.locator(".state")).to_have_text("abandoned")


@pytest.mark.usefixtures("one_day")
def test_users_see_what_they_spent_and_the_operator_sees_all(running: Running, upstream: Upstream, page: Tab) -> None:
    for name in ("ann", "ben"):
        log_in(page, running.url, name)
        upstream.answer("Hello", usage=HELLO)
        ask(page, "Hi.")
        expect(page.locator(".assistant")).to_have_text("Hello")
        running.line(f"owner='{name}'")
        page.get_by_role("link", name="Usage").click()
        expect(page.locator("body")).to_contain_text("gpt-4o-mini")
        page.goto(f"{page.url}&by=owner")
        expect(page.locator("tbody th")).to_have_text([name])
        page.get_by_role("link", name="Back").click()
        page.context.clear_cookies()
    command, _, table = TUTORIAL.block("console", "llm usage").partition("\n")
    assert without_figures(table) <= without_figures(running.shell(command.removeprefix("$ ")))


def test_question_over_the_budget_is_refused_with_its_reason(running: Running, upstream: Upstream, page: Tab) -> None:
    log_in(page, running.url, "carla")
    upstream.answer("Hello", usage={"prompt_tokens": 10, "completion_tokens": 10**6, "total_tokens": 10**6 + 10})
    ask(page, "Hi.")
    expect(page.locator(".assistant")).to_have_text("Hello")
    ask(page, "More.")
    expect(page.locator(".state").last).to_contain_text("budget")
    assert len(upstream.requests) == 1


def test_screenshots_are_taken(running: Running, upstream: Upstream, browser: Any, tmp_path: Path) -> None:
    folder = ROOT / "docs" / "pictures" if os.environ.get("SCREENSHOTS") else tmp_path
    context = browser.new_context(viewport={"width": 860, "height": 330})
    page = context.new_page()
    log_in(page, running.url, "dora")
    gate = Gate()
    upstream.answer("A mirage is light that warm air bends.")
    ask(page, "What is a mirage, in one sentence?")
    expect(page.locator(".assistant")).to_contain_text("bends.")
    page.get_by_role("button", name="New conversation").click()
    upstream.answer(*STORY[:3], gate, STORY[3], Stall())
    ask(page, "Tell me a short story about a lighthouse.")
    expect(page.locator(".assistant")).to_contain_text("at nine")
    page.screenshot(path=folder / "tutorial-writing.png", animations="disabled", caret="hide")
    gate.open()
    expect(page.locator(".assistant")).to_contain_text("boat")
    page.get_by_role("button", name="Stop").click()
    expect(page.locator(".state").last).to_have_text("cancelled")
    page.reload()
    page.screenshot(path=folder / "tutorial-stopped.png", animations="disabled", caret="hide")
    context.close()
    assert all((folder / f"tutorial-{name}.png").stat().st_size < 100_000 for name in ("writing", "stopped"))


def log_in(page: Tab, url: str, name: str = "ann") -> None:
    """Then there is an empty conversation."""
    page.goto(url)
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill("secret")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="New conversation").click()
    page.get_by_label("Question").wait_for()


def ask(page: Tab, question: str) -> None:
    page.get_by_label("Question").fill(question)
    expect(page.get_by_role("button", name="Ask")).to_be_enabled()
    page.get_by_role("button", name="Ask").click()


def close(module: Any) -> None:
    with module.app.app_context():
        module.db.engine.dispose()


def without_figures(table: str) -> set[str]:
    return {re.sub(r"[\d.$%, -]+", " ", line) for line in table.splitlines()}


def masked(events: str) -> str:
    """Without the id of the stream and the time."""
    return re.sub(r'[0-9a-f]{20}|"created":\d+', "…", events).strip()
