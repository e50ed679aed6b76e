"""The demo's chat page, as a person meets it."""

from __future__ import annotations

import hashlib
import json
import os
import random
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import Route
from playwright.sync_api import expect

from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Reasoning
from llm_stream.events import Source
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import ROOT
from .conftest import SOON_S
from .conftest import Server
from .routed import Routed

pytestmark = pytest.mark.browser

ANSWER = '''# Binary search

Look in the **middle**, and throw away the half where it *cannot* be. Each step halves what is left.

```python
def search(items: list[int], wanted: int) -> int | None:
    """The place of `wanted` in sorted items."""
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2  # rounds down
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low if items[low:low + 1] == [wanted] else None
```

| items | steps | one by one |
|---|---:|---:|
| a thousand | 10 | 1,000 |
| a million | 20 | 1,000,000 |

1. The items must be sorted.

   ```bash
   sort -n numbers.txt
   ```
2. See [the story of a bug](https://research.google/blog/nearly-all-binary-searches-and-mergesorts-are-broken/).
   - [x] rounds down
   - [ ] `low + high` in other languages
'''


@pytest.fixture
def upstream(site: Server) -> Upstream:
    """The site's."""
    assert site.upstream
    site.upstream.requests.clear()
    return site.upstream


@pytest.fixture
def chat(page: Page, site: Server, upstream: Upstream) -> Page:
    page.goto(site.url)
    return page


def ask(page: Page, question: str = "What is it?") -> Locator:
    """Ask; the turn that begins."""
    turns = page.locator(".turn").count()
    page.get_by_label("Message").fill(question)
    page.keyboard.press("Enter")
    return page.locator(".turn").nth(turns)


def is_over(turn: Locator, status: str = "completed") -> None:
    expect(turn).to_have_attribute("data-state", status)


def in_pieces(text: str, size: int = 5) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def test_question_is_not_sent_before_the_script_has_loaded(page: Page, site: Server, upstream: Upstream) -> None:
    held: list[Route] = []
    page.route("**/static/chat.js", lambda route: held.append(route))
    with page.expect_request("**/static/chat.js"):
        page.goto(site.url, wait_until="commit")
    page.get_by_label("Message").fill("What is it?")
    expect(page.get_by_role("button", name="Send")).to_be_disabled()
    held[0].continue_()
    upstream.answer("A page.")
    page.get_by_role("button", name="Send").click()
    expect(page.locator(".question")).to_have_text("What is it?")
    is_over(page.locator(".turn"))


# Markdown


def test_tables_lists_code_and_links_are_shown(chat: Page, upstream: Upstream) -> None:
    upstream.answer(*in_pieces(ANSWER))
    turn = ask(chat)
    is_over(turn)
    answer = turn.locator(".answer")
    expect(answer.locator("h1")).to_have_text("Binary search")
    expect(answer.locator("strong")).to_have_text("middle")
    expect(answer.locator("tbody tr")).to_have_count(2)
    expect(answer.locator("tbody tr").nth(1).locator("td.right").last).to_have_text("1,000,000")
    expect(answer.locator("ol > li")).to_have_count(2)
    expect(answer.locator("ol > li:first-child figure code")).to_have_text("sort -n numbers.txt")  # code within an item
    expect(answer.locator("li.task input:checked")).to_have_count(1)
    expect(answer.locator(".hljs-keyword").first).to_have_text("def")
    link = answer.get_by_role("link", name="the story of a bug")
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    assert link.get_attribute("target") == "_blank"


def test_markdown_is_shown_while_it_is_written(chat: Page, upstream: Upstream) -> None:
    gates = [Gate() for _ in range(3)]
    upstream.answer(
        "Some **bo", gates[0], "ld** words:\n\n```py\nx = 1\n", gates[1], "```\n\n| a |\n|--", gates[2], "-|\n|1|"
    )
    answer = ask(chat).locator(".answer")
    expect(answer.locator("strong")).to_have_text("bo")  # before its marks are closed
    assert "*" not in answer.inner_text()
    gates[0].open()
    expect(answer.locator("figure code")).to_have_text("x = 1")
    expect(answer.locator(".hljs-number")).to_have_text("1")
    gates[1].open()
    expect(answer.locator("figure code")).to_have_text("x = 1")
    assert "|" not in answer.inner_text()  # a table that is none yet is held back
    gates[2].open()
    expect(answer.locator("td")).to_have_text("1")


def test_code_is_never_shown_with_its_marks(chat: Page) -> None:
    text = "Code:\n\n```py\nx = 1\n```\n\n| a |\n|---|\n| b |"
    script = """async (text) => {
        const { Markdown } = await import("/static/markdown.js");
        const answer = document.createElement("div");
        const markdown = new Markdown(answer);
        const shown = new Set();
        for (let end = text.indexOf("py") + 3; end <= text.length; end++) {
            markdown.show(text.slice(0, end));
            shown.add(answer.querySelector("figure code").textContent.trim());
        }
        return [...shown];
    }"""
    assert chat.evaluate(script, text) == ["", "x", "x =", "x = 1"]


IN_PIECES_AND_AT_ONCE = """async ([text, cuts]) => {
    const { Markdown } = await import("/static/markdown.js");
    const [growing, whole] = [document.createElement("div"), document.createElement("div")];
    const markdown = new Markdown(growing);
    for (const cut of cuts) markdown.show(text.slice(0, cut));
    markdown.show(text, true);
    new Markdown(whole).show(text, true);
    for (const answer of [growing, whole]) answer.normalize();
    return growing.isEqualNode(whole) || [growing, whole].map((answer) => answer.innerHTML);
}"""

SAMPLES = [
    ANSWER,
    "a\r\nb\rc\n\n- d\r\n- e\r\n",
    "See [one][1] and [two].\n\ntext\n\n[1]: https://a.example\n[two]: https://b.example 'B'\n\nend",
    "Text:\n- a\n- b\n\nTitle\n---\n\nTitle\n===\ntext\n***\nend",
    "- a\n\n  b\n\n      code\n\n- c\n\n\n1. d\n2. e\n   > f\n   > g\n\nh",
    "~~~\n```\n~~~\n````md\n```py\nx\n```\n````\nafter `` a ` b `` and `c",
    "**bold *both* ~~gone~~ [link](https://a.example/x_(y)) ![i](https://a.example) `x` a[0] 2 * 3",
    "<div>\n*a*\n\n</div> &amp;&copy;&#8212; <br>x<br/>\n\n| a | b |\n|:-:|--|\n| 1<br>2 | <b>x</b> |\nlazy\n",
]


BITS = [
    *("a", "word ", "\n", "\n\n", "\n---\n", "- ", "* ", "1. ", "2. ", "  ", "    ", "> ", "# ", "```\n", "```py\n"),
    *(
        "`",
        "**",
        "*",
        "_",
        "~~",
        "[",
        "](",
        "](https://a.example)",
        "[a](https://b.example)",
        "![x](https://c.example)",
    ),
    *("---", "<b>", "</b>", "<div>", "<br>", "<!-- ", "-->", "&amp;", "&", "[1]: https://d.example\n", "[1]", "[ ] "),
    *("(", ")", ". ", "!", "\r\n", "🧠", "|", "| a | b |\n|---|---|\n"),
]


def test_written_piece_by_piece_it_is_the_same_as_at_once(chat: Page) -> None:
    chance = random.Random(1)
    texts = ["".join(chance.choices(BITS, k=chance.randrange(2, 40))) for _ in range(150)]
    for text in [*SAMPLES, *texts]:
        step = chance.choice([1, 1, 2, 5])
        outcome = chat.evaluate(IN_PIECES_AND_AT_ONCE, [text, list(range(1, len(text), step))])
        assert outcome is True, f"{text!r} became {outcome}"


def test_text_that_is_nested_beyond_reason_is_shown_as_it_is(chat: Page, upstream: Upstream) -> None:
    upstream.answer(">" * 5000, "[" * 5000, "* " * 2000)
    turn = ask(chat)
    is_over(turn)
    expect(turn.locator(".answer")).to_contain_text("[" * 100)


def test_pictures_are_links_and_load_nothing(chat: Page, upstream: Upstream, site: Server) -> None:
    asked: list[str] = []
    chat.on("request", lambda request: asked.append(request.url))
    upstream.answer("![a chart](https://elsewhere.example/chart.png?q=secret) ![](https://elsewhere.example/b.png)")
    turn = ask(chat)
    is_over(turn)
    link = turn.get_by_role("link", name="Image: a chart")
    expect(link).to_have_attribute("href", "https://elsewhere.example/chart.png?q=secret")
    expect(turn.locator(".answer img")).to_have_count(0)
    assert all(url.startswith(site.url) for url in asked)


def test_code_and_answers_are_copied_as_they_were_written(chat: Page, upstream: Upstream) -> None:
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    upstream.answer("Run **this**:\n\n```bash\necho '<b>' \\\n  && true\n```\n")
    turn = ask(chat)
    is_over(turn)
    turn.locator("figure").get_by_role("button", name="Copy").click()
    expect(turn.locator("figure").get_by_role("button")).to_have_text("Copied")
    assert chat.evaluate("navigator.clipboard.readText()") == "echo '<b>' \\\n  && true"
    turn.locator(".actions").get_by_role("button", name="Copy").click()
    expect(turn.locator(".actions").get_by_role("button", name="Copied")).to_be_visible()
    assert (
        chat.evaluate("navigator.clipboard.readText()") == "Run **this**:\n\n```bash\necho '<b>' \\\n  && true\n```\n"
    )


def test_reasoning_is_folded_away(chat: Page, upstream: Upstream) -> None:
    upstream.answer({"choices": [{"index": 0, "delta": {"reasoning_content": "Let me **think**."}}]}, "Yes.")
    turn = ask(chat)
    is_over(turn)
    expect(turn.get_by_text("Let me think.")).to_be_hidden()
    turn.get_by_text("Reasoning").click()
    expect(turn.get_by_text("Let me think.")).to_be_visible()
    expect(turn.locator(".answer")).to_have_text("Yes.")


# The conversation


def contents(upstream: Upstream, request: int) -> list[str]:
    return [message["content"] for message in upstream.requests[request].json["messages"]]


def test_an_edited_question_takes_the_place_of_what_came_after_it(chat: Page, upstream: Upstream) -> None:
    for answer in ("one", "two", "three", "better"):
        upstream.answer(answer)
    for question in ("first", "second", "third"):
        is_over(ask(chat, question))
    turns = chat.locator(".turn")
    turns.nth(1).get_by_role("button", name="Edit").click()
    field = chat.get_by_label("Edit the question")
    expect(field).to_be_focused()
    expect(field).to_have_value("second")
    field.fill("second, edited")
    chat.keyboard.press("Enter")
    expect(turns).to_have_count(2)
    expect(turns.nth(1).locator(".answer")).to_have_text("better")
    is_over(turns.nth(1))
    expect(chat.get_by_label("Message")).to_be_focused()
    assert contents(upstream, 3) == ["first", "one", "second, edited"]
    chat.reload()
    expect(chat.locator(".question")).to_have_text(["first", "second, edited"])
    expect(chat.locator(".answer")).to_have_text(["one", "better"])


def test_editing_is_given_up_by_escape(chat: Page, upstream: Upstream) -> None:
    upstream.answer("one")
    turn = ask(chat, "first")
    is_over(turn)
    turn.get_by_role("button", name="Edit").click()
    chat.keyboard.type("changed")
    chat.keyboard.press("Escape")
    expect(turn.locator(".question")).to_have_text("first")
    expect(turn.get_by_role("button", name="Edit")).to_be_focused()
    assert len(upstream.requests) == 1


def test_an_answer_is_written_anew_on_request(chat: Page, upstream: Upstream) -> None:
    for answer in ("one", "two", "another one"):
        upstream.answer(answer)
    for question in ("first", "second"):
        is_over(ask(chat, question))
    chat.locator(".turn").first.get_by_role("button", name="Regenerate").click()
    expect(chat.locator(".answer")).to_have_text(["another one"])
    is_over(chat.locator(".turn"))
    assert contents(upstream, 2) == ["first"]  # bought anew: it has a key of its own


def test_regenerating_stops_what_is_being_written(chat: Page, upstream: Upstream) -> None:
    upstream.answer("one")
    upstream.answer("tw", Stall())
    upstream.answer("again")
    is_over(ask(chat, "first"))
    expect(ask(chat, "second").locator(".answer")).to_have_text("tw")
    chat.locator(".turn").first.get_by_role("button", name="Regenerate").click()
    expect(chat.locator(".answer")).to_have_text(["again"])
    is_over(chat.locator(".turn"))
    assert upstream.request(1).left.wait(SOON_S)
    expect(chat.get_by_role("button", name="Send")).to_be_visible()


def test_a_new_conversation_leaves_nothing_behind(chat: Page, upstream: Upstream) -> None:
    upstream.answer("one", Stall())
    expect(ask(chat, "first").locator(".answer")).to_have_text("one")
    chat.get_by_role("button", name="New conversation").click()
    expect(chat.locator(".turn")).to_have_count(0)
    expect(chat.get_by_label("Message")).to_be_focused()
    assert upstream.request(0).left.wait(SOON_S)
    upstream.answer("two")
    is_over(ask(chat, "second"))
    assert contents(upstream, 1) == ["second"]


# The composer

BUSY = "An answer is being written. Press Escape to stop it, or send when it is complete."


def test_an_empty_page_invites_with_examples_that_can_be_clicked(chat: Page, upstream: Upstream) -> None:
    upstream.answer("one")
    examples = chat.get_by_role("region", name="Examples").get_by_role("button")
    expect(examples).to_have_count(4)
    question = examples.first.inner_text()
    examples.first.click()
    is_over(chat.locator(".turn"))
    expect(chat.locator(".question")).to_have_text(question)
    expect(examples.first).to_be_hidden()
    expect(chat.get_by_label("Message")).to_be_focused()
    chat.get_by_role("button", name="New conversation").click()
    expect(examples.first).to_be_visible()


def test_the_page_says_what_the_keys_do_where_there_are_keys(page: Page, browser: Any, site: Server) -> None:
    page.goto(site.url)
    expect(page.get_by_label("Message")).to_have_accessible_description(re.compile("Enter sends · Shift"))
    context = browser.new_context(**PICTURES["chat-phone"], is_mobile=True)
    phone = context.new_page()
    phone.goto(site.url)
    expect(phone.get_by_text("Enter sends")).to_be_hidden()
    context.close()


def test_enter_while_an_answer_is_written_says_why_nothing_happens(chat: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    upstream.answer("Yes.")
    turn = ask(chat)
    expect(turn.locator(".answer")).to_have_text("Hel")
    chat.keyboard.type("Really?")
    chat.keyboard.press("Enter")
    expect(chat.get_by_text(BUSY)).to_be_visible()
    assert chat.locator("#note").get_attribute("role") == "status"
    expect(chat.get_by_label("Message")).to_have_value("Really?")  # nothing is lost
    gate.open()
    is_over(turn)
    chat.keyboard.press("Enter")
    is_over(chat.locator(".turn").nth(1))
    expect(chat.get_by_text(BUSY)).to_be_hidden()
    assert contents(upstream, 1)[-1] == "Really?"


def test_enter_without_a_question_says_so(chat: Page, upstream: Upstream) -> None:
    chat.get_by_label("Message").fill("  ")
    chat.keyboard.press("Enter")
    expect(chat.get_by_text("Write a question first.")).to_be_visible()
    assert upstream.requests == []


# Models and usage


def test_there_is_no_menu_of_models_where_there_is_one(chat: Page) -> None:
    expect(chat.get_by_label("Model")).to_have_count(0)
    expect(chat.locator("header")).to_contain_text("openai/gpt-4o-mini")


def test_the_model_is_chosen_from_those_that_are_allowed(page: Page, upstream: Upstream, serve: Any) -> None:
    server = serve(upstream, models=["vendor/large", "vendor/small"])
    page.goto(server.url)
    menu = page.get_by_label("Model", exact=True)
    expect(menu.locator("option")).to_have_text(["openai/gpt-4o-mini", "vendor/large", "vendor/small"])
    menu.select_option("vendor/small")
    before = len(upstream.requests)
    upstream.answer("one")
    turn = ask(page)
    is_over(turn)
    assert upstream.requests[before].json["model"] == "vendor/small"
    expect(turn.locator(".state")).to_contain_text("vendor/small")
    page.reload()
    expect(menu).to_have_value("vendor/small")  # a conversation goes on with its model
    upstream.answer("two")
    menu.select_option("vendor/large")
    turn.get_by_role("button", name="Regenerate").click()
    expect(turn.locator(".answer")).to_have_text("two")
    assert upstream.requests[before + 1].json["model"] == "vendor/large"


def test_usage_is_one_click_away_and_so_is_the_way_back(chat: Page, site: Server) -> None:
    chat.get_by_role("link", name="Usage").click()
    expect(chat.get_by_role("heading", name="Usage")).to_be_visible()
    chat.get_by_role("link", name="7 days").click()  # the way back outlives a filter
    chat.get_by_role("button", name="Show").click()
    chat.get_by_role("link", name="Back").click()
    expect(chat).to_have_url(f"{site.url}/")


def test_usage_is_not_offered_to_those_who_may_not_see_it(page: Page, site: Server) -> None:
    page.set_extra_http_headers({"X-Forwarded-For": "203.0.113.9"})
    page.goto(site.url)
    expect(page.get_by_label("Message")).to_be_visible()
    expect(page.get_by_role("link", name="Usage")).to_have_count(0)


# Scrolling

DISTANCE = "main => Math.round(main.scrollHeight - main.scrollTop - main.clientHeight)"


def test_scrolling_follows_the_answer_and_yields_to_the_reader(chat: Page, upstream: Upstream) -> None:
    gates = [Gate() for _ in range(3)]
    page_full = "line of text\n\n" * 40
    upstream.answer(page_full, "A", gates[0], page_full, "B", gates[1], page_full, "C", gates[2], page_full, "D")
    answer = ask(chat).locator(".answer")
    main, latest = chat.get_by_role("main"), chat.get_by_role("button", name="Jump to latest")
    expect(answer).to_contain_text("A")
    assert main.evaluate(DISTANCE) <= 1
    expect(latest).to_be_hidden()
    main.hover()
    chat.mouse.wheel(0, -150)
    expect(latest).to_be_visible()
    place = main.evaluate("main => main.scrollTop")
    gates[0].open()
    expect(answer).to_contain_text("B")
    assert main.evaluate("main => main.scrollTop") == place
    latest.click()
    assert main.evaluate(DISTANCE) <= 1
    expect(latest).to_be_hidden()
    gates[1].open()
    expect(answer).to_contain_text("C")
    assert main.evaluate(DISTANCE) <= 1
    main.focus()
    chat.keyboard.press("PageUp")
    expect(latest).to_be_visible()
    chat.keyboard.press("End")
    expect(latest).to_be_hidden()  # at the end, it follows again
    gates[2].open()
    expect(answer).to_contain_text("D")
    is_over(chat.locator(".turn"))
    assert main.evaluate(DISTANCE) <= 1


def test_a_selection_survives_the_text_that_comes_after_it(chat: Page, upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("Some words", gates[0], " and **more** of", gates[1], " them.\n\nNew.")
    turn = ask(chat)
    answer = turn.locator(".answer")
    expect(answer).to_have_text("Some words")
    answer.locator("p").dblclick(position={"x": 10, "y": 10})
    chosen = chat.evaluate("getSelection().toString()").strip()
    assert chosen == "Some"
    for gate in gates:
        gate.open()
    is_over(turn)
    assert chat.evaluate("getSelection().toString()").strip() == chosen


# For everybody

HEARD = """() => {
    window.heard = [];
    new MutationObserver((records) => {
        for (const { addedNodes } of records) for (const node of addedNodes) heard.push(node.textContent);
    }).observe(document.getElementById("announcer"), { childList: true, subtree: true });
}"""


def test_a_screen_reader_hears_whole_sentences(chat: Page, upstream: Upstream) -> None:
    gate = Gate()
    chat.evaluate(HEARD)
    sentences = ["The first **sentence** is here.", " Is the second?", " The third one waits"]
    upstream.answer(*in_pieces("".join(sentences), 1), gate, " no longer. ```x``` And [links](https://a.example).")
    turn = ask(chat)
    expect(chat.locator("#announcer p").last).to_have_text("The first sentence is here. Is the second?")
    gate.open()
    is_over(turn)
    expect(chat.locator("#announcer p").last).to_have_text("The answer is complete.")
    heard = chat.evaluate("heard")
    assert len(heard) <= 4
    assert re.sub(r"\s+", " ", " ".join(heard)) == (
        "The first sentence is here. Is the second? The third one waits no longer. x And links. The answer is complete."
    )
    assert chat.locator("#announcer").get_attribute("role") == "status"
    assert chat.evaluate("!document.querySelector('.answer').closest('[aria-live], [role=status], [role=log]')")


def test_a_failure_is_heard_and_tried_again_by_keyboard(chat: Page, upstream: Upstream) -> None:
    upstream.answer("Hel", finish_reason=None)
    upstream.answer("Hello")
    turn = ask(chat)
    is_over(turn, "failed")
    expect(chat.locator("#announcer p").last).to_have_text("The answer broke off. Please try again.")
    turn.get_by_role("button", name="Try again").focus()
    chat.keyboard.press("Enter")
    expect(chat.locator(".answer")).to_have_text(["Hello"])
    expect(chat.get_by_label("Message")).to_be_focused()


def test_the_end_of_a_lost_worker_is_shown_and_tried_again(chat: Page, upstream: Upstream) -> None:
    """The same stream's events, as another worker ends it; the second question is the server's own."""
    failure = {"code": "worker_lost", "message": "The server failed.", "retryable": True, "error_id": "e"}
    events: list[tuple[int, str, dict[str, Any]]] = [
        (1, "start", {"id": "abc"}),
        (2, "delta", {"text": "Hel"}),
        (900_000_000, "failure", failure),
        (900_000_001, "usage", {"source": "unknown"}),
        (900_000_002, "done", {"status": "interrupted"}),
    ]
    body = "".join(f"id: abc-{n}\nevent: {kind}\ndata: {json.dumps(data)}\n\n" for n, kind, data in events)
    begun = json.dumps({"id": "abc", "url": "/llm/streams/abc"})
    chat.route("**/llm/streams", lambda route: route.fulfill(status=201, body=begun), times=1)
    chat.route("**/llm/streams/abc", lambda route: route.fulfill(body=body, content_type="text/event-stream"))
    turn = ask(chat)
    is_over(turn, "interrupted")
    expect(turn.locator(".answer")).to_have_text("Hel")
    expect(turn.locator(".state span")).to_have_text(["The server failed.", "cost unknown", re.compile("first token")])
    upstream.answer("Hello")
    turn.get_by_role("button", name="Try again").click()
    expect(chat.locator(".answer")).to_have_text(["Hello"])


FOCUSED = """() => {
    const at = document.activeElement;
    return at.ariaLabel ?? at.labels?.[0]?.textContent ?? at.textContent.trim();
}"""
"""The name of the element that has the focus."""


def test_everything_is_reached_by_keyboard_and_has_a_name(chat: Page, upstream: Upstream) -> None:
    upstream.answer(ANSWER)
    is_over(ask(chat))
    names = []
    for _ in range(30):
        chat.keyboard.press("Tab")
        names.append(chat.evaluate(FOCUSED))
    assert {"New conversation", "Conversation", "Edit", "Copy", "Regenerate", "Table", "the story of a bug"} <= set(
        names
    )
    assert "Message" in names
    assert all(names)


def test_nothing_moves_for_those_who_asked_for_that(chat: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    turn = ask(chat)
    expect(turn.locator(".answer")).to_have_text("Hel")
    animation = "state => getComputedStyle(state, '::before').animationName"
    assert turn.locator(".state").evaluate(animation) == "breathe"
    chat.emulate_media(reduced_motion="reduce")
    assert turn.locator(".state").evaluate(animation) == "none"
    gate.open()
    is_over(turn)


CONTRASTS = """() => {
    const channel = (value) => (value /= 255, value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);
    const light = (colour) => {
        const [red, green, blue] = colour.match(/[\\d.]+/g).map(Number).map(channel);
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
    };
    const ground = (element) => {
        for (let at = element; at; at = at.parentElement) {
            const colour = getComputedStyle(at).backgroundColor;
            if (!colour.endsWith(", 0)")) return colour;
        }
    };
    const names = "button, p, span, td, th, a, li, code, pre, select, h1, h2, summary, .question";
    return [...document.querySelectorAll(names)]
        .filter((element) => element.checkVisibility() && element.textContent.trim())
        .map((element) => {
            const [one, other] = [getComputedStyle(element).color, ground(element)].map(light).sort((a, b) => b - a);
            return [(one + 0.05) / (other + 0.05), element.outerHTML.slice(0, 80)];
        })
        .filter(([contrast]) => contrast < 4.5);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_can_be_read(chat: Page, upstream: Upstream, scheme: Any) -> None:
    chat.emulate_media(color_scheme=scheme)
    upstream.answer(ANSWER)
    upstream.answer("Hel", finish_reason=None)
    is_over(ask(chat))
    is_over(ask(chat), "failed")
    expect(chat.locator(".hljs-keyword").first).to_be_attached()
    chat.mouse.move(0, 0)
    assert chat.evaluate(CONTRASTS) == []
    chat.get_by_role("button", name="New conversation").click()
    chat.keyboard.press("Enter")
    expect(chat.get_by_text("Write a question first.")).to_be_visible()
    assert chat.evaluate(CONTRASTS) == []


# What it takes

COUNT = """
    window.writes = 0;
    window.longest = 0;
    addEventListener("DOMContentLoaded", () => {
        new MutationObserver(() => { writes += 1; }).observe(document.getElementById("turns"),
            { subtree: true, childList: true, characterData: true });
        new PerformanceObserver((list) => {
            for (const { duration } of list.getEntries()) longest = Math.max(longest, duration);
        }).observe({ type: "longtask" });
    });
"""


KEPT_TURNS = """() => {
    const name = Object.keys(localStorage).find((key) => key.startsWith("llm-stream.turns."));
    return JSON.parse(localStorage[name]);
}"""


def test_twenty_thousand_tokens_are_drawn_by_frames(
    page: Page, site: Server, upstream: Upstream, record_property: Any
) -> None:
    page.add_init_script(COUNT)
    page.goto(site.url)
    paragraph = "word of an answer that is long, **and** `marked` up, with [a link](https://a.example). " * 4
    text = "\n\n".join([paragraph, "- item of a list\n" * 10, "```py\nx = 1  # code\n```", "## Heading"] * 130)
    tokens = in_pieces(text, 4)[:20_000]
    assert len(tokens) >= 15_000
    upstream.answer(*tokens, usage={"prompt_tokens": 1, "completion_tokens": len(tokens)})
    turn = ask(page)
    expect(turn).to_have_attribute("data-state", "completed")
    record_property("longest task in ms", page.evaluate("longest"))
    assert page.evaluate("writes") < len(tokens) / 20
    assert text.rstrip().startswith(page.evaluate(KEPT_TURNS)[0]["legs"][0]["steps"][0]["text"][:1000])


# What it is made of


def test_vendored_files_are_what_they_are_said_to_be() -> None:
    folder = ROOT / "static/vendor"
    said = dict(re.findall(r"^\| `([\w.]+)` .*`([0-9a-f]{64})` \|$", (folder / "README.md").read_text(), re.MULTILINE))
    files = {path.name for path in folder.iterdir()} - {"README.md", "LICENSES.txt"}
    assert set(said) == files
    for name, checksum in said.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == checksum


def test_nothing_of_the_page_is_written_into_it(site: Server, chat: Page) -> None:
    """No inline script or style, so the policy need not allow any."""
    html = chat.request.get(site.url).text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", html)


# Pictures for the README: `make screenshots` writes them, a test run only tries

PICTURED = """Look in the **middle**, and throw away the half where it *cannot* be.

```python
def search(items, wanted):
    low, high = 0, len(items)
    while low < high:
        middle = (low + high) // 2  # rounds down
        if items[middle] < wanted:
            low = middle + 1
        else:
            high = middle
    return low
```

| items | halving | one by one |
|---|---:|---:|
| a thousand | 10 | 1,000 |
| a million | 20 | 1,000,000 |
"""
EARLIER = ("Which train goes to Lugano tonight?", "A name for a grey cat", "Explain how JWT tokens work")
WEATHER = [
    ToolCall(0, '{"city": "Zürich"}', "call_w", "weather", server=True),
    ToolResult("call_w", "weather", {"celsius": 21, "sky": "clear"}),
    Step(2),
    Delta("It is **21 °C** and clear. You need no umbrella."),
    Source("https://weather.example/zurich", "Weather in Zürich"),
    Usage(212, 31, source="provider", cost=Decimal("0.0048"), currency="INR"),
    Done("completed", "stop"),
]
SEARCH = [
    Reasoning("A short answer, with code."),
    *map(Delta, in_pieces(PICTURED)),
    Usage(14, 268, source="provider", cost=Decimal("0.0157"), currency="INR"),
    Done("completed", "stop"),
]
PICTURES: dict[str, dict[str, Any]] = {
    "chat-light": {"viewport": {"width": 1080, "height": 860}, "color_scheme": "light"},
    "chat-dark": {"viewport": {"width": 1080, "height": 860}, "color_scheme": "dark"},
    "chat-phone": {"viewport": {"width": 390, "height": 880}, "color_scheme": "light", "has_touch": True},
}


@pytest.mark.parametrize("name", PICTURES)
def test_screenshots_are_taken(browser: Any, site: Server, upstream: Upstream, tmp_path: Path, name: str) -> None:
    folder = ROOT / "docs" / "pictures" if os.environ.get("SCREENSHOTS") else tmp_path
    context = browser.new_context(**PICTURES[name])
    page = context.new_page()
    page.clock.set_fixed_time("2026-01-01T00:00:00Z")  # no figure that differs from one run to the next
    server = Routed(page)
    page.goto(site.url)
    for minute, question in enumerate(EARLIER, 1):
        server.say("Yes.")
        is_over(ask(page, question))
        page.get_by_role("button", name="New conversation").click()
        page.clock.set_fixed_time(f"2026-01-01T00:0{minute}:00Z")  # the list is in the order of time
    for question, answer in (("How does binary search work?", SEARCH), ("What is the weather in Zürich?", WEATHER)):
        server.answer(*answer)
        is_over(ask(page, question))
    expect(page.locator(".hljs-comment")).to_be_attached()
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.screenshot(path=folder / f"{name}.png", animations="disabled")
    context.close()
    assert (folder / f"{name}.png").stat().st_size < 100_000
