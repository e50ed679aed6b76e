"""The list of conversations on the demo's chat page: kept in the browser, and never lost without a way back."""

from __future__ import annotations

import re
from time import time
from typing import Any

import pytest
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import SOON_S
from .conftest import Server
from .test_chat_page import ask
from .test_chat_page import contents
from .test_chat_page import is_over

pytestmark = pytest.mark.browser

FULL = """() => {
    const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (name, value) {
        if (this === localStorage) throw new DOMException("full", "QuotaExceededError");
        setItem.call(this, name, value);
    };
}"""

FULL_OF_DELETED = """() => {
    const { setItem } = Storage.prototype;
    Storage.prototype.setItem = function (name, value) {
        const isFull = Object.values(localStorage).some((text) => JSON.parse(text).deleted);
        if (this === localStorage && isFull) throw new DOMException("full", "QuotaExceededError");
        setItem.call(this, name, value);
    };
}"""

FORBIDDEN = """
    for (const name of ["localStorage", "sessionStorage"])
        Object.defineProperty(window, name, { get() { throw new DOMException("forbidden", "SecurityError"); } });
"""

AGE = """days => {
    for (const [name, text] of Object.entries(localStorage)) {
        if (!name.startsWith("llm-stream.head.")) continue;
        const head = JSON.parse(text);
        if (head.deleted) localStorage[name] = JSON.stringify({ ...head, deleted: head.deleted - days * 864e5 });
    }
}"""


@pytest.fixture
def upstream(site: Server) -> Upstream:
    assert site.upstream
    site.upstream.requests.clear()
    return site.upstream


@pytest.fixture
def chat(page: Page, site: Server, upstream: Upstream) -> Page:
    page.goto(site.url)
    return page


def listed(page: Page) -> Locator:
    """The titles in the list."""
    return page.locator("#conversations .open")


def converse(page: Page, upstream: Upstream, question: str, answer: str) -> Locator:
    """A question in a new conversation."""
    page.get_by_role("button", name="New conversation").click()
    upstream.answer(answer)
    turn = ask(page, question)
    is_over(turn)
    return turn


def delete(page: Page, title: str) -> None:
    page.get_by_role("button", name=f"Delete {title}", exact=True).click()


# The list


def test_conversations_are_listed_the_latest_first_and_opened_again(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    converse(chat, upstream, "second", "two")
    expect(listed(chat)).to_have_text(["second", "first"])
    expect(chat.get_by_role("button", name="second", exact=True)).to_have_attribute("aria-current", "true")
    chat.get_by_role("button", name="first", exact=True).click()
    expect(chat.locator(".answer")).to_have_text(["one"])
    expect(chat.get_by_label("Message")).to_be_focused()
    expect(chat).to_have_title(re.compile(r"^first · Chat"))
    upstream.answer("three")
    is_over(ask(chat, "third"))
    assert contents(upstream, 2) == ["first", "one", "third"]
    expect(listed(chat)).to_have_text(["first", "second"])


def test_conversations_are_there_in_a_new_tab_and_after_the_browser_was_closed(
    chat: Page, upstream: Upstream, site: Server
) -> None:
    converse(chat, upstream, "first", "one")
    other = chat.context.new_page()
    other.goto(site.url)
    expect(other.locator(".turn")).to_have_count(0)  # each tab begins anew
    other.get_by_role("button", name="first", exact=True).click()
    expect(other.locator(".answer")).to_have_text(["one"])


def test_a_reload_shows_the_same_conversation(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    converse(chat, upstream, "second", "two")
    chat.get_by_role("button", name="first", exact=True).click()
    chat.reload()
    expect(chat.locator(".answer")).to_have_text(["one"])


def test_opening_another_conversation_stops_the_answer_and_keeps_what_there_is(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    chat.get_by_role("button", name="New conversation").click()
    upstream.answer("two", Stall())
    expect(ask(chat, "second").locator(".answer")).to_have_text("two")
    chat.get_by_role("button", name="first", exact=True).click()
    assert upstream.request(1).left.wait(SOON_S)
    chat.get_by_role("button", name="second", exact=True).click()
    expect(chat.locator(".answer")).to_have_text(["two"])
    expect(chat.locator(".state")).to_contain_text("Stopped")


def test_on_a_phone_the_list_is_opened_and_closed(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    converse(chat, upstream, "second", "two")
    chat.set_viewport_size({"width": 390, "height": 800})
    expect(listed(chat).first).to_be_hidden()
    chat.get_by_role("button", name="Conversations").click()
    expect(listed(chat).first).to_be_visible()
    chat.keyboard.press("Escape")
    expect(listed(chat).first).to_be_hidden()
    chat.get_by_role("button", name="Conversations").click()
    chat.get_by_role("button", name="first", exact=True).click()
    expect(listed(chat).first).to_be_hidden()
    expect(chat.locator(".answer")).to_have_text(["one"])


def test_escape_that_closes_the_list_does_not_stop_the_answer(chat: Page, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    chat.set_viewport_size({"width": 390, "height": 800})
    turn = ask(chat)
    expect(turn.locator(".answer")).to_have_text("Hel")
    chat.get_by_role("button", name="Conversations").click()
    chat.keyboard.press("Escape")
    gate.open()
    is_over(turn)
    expect(turn.locator(".answer")).to_have_text("Hello")


# Nothing is deleted without a way back


def test_a_deleted_conversation_comes_back_by_undo(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    converse(chat, upstream, "second", "two")
    delete(chat, "second")
    expect(listed(chat)).to_have_text(["first"])
    expect(chat.locator(".turn")).to_have_count(0)
    expect(chat.locator("#toast")).to_contain_text("“second” was deleted.")
    chat.get_by_role("button", name="Undo").click()
    expect(listed(chat)).to_have_text(["second", "first"])
    expect(chat.locator(".answer")).to_have_text(["two"])


def test_undo_has_the_focus_and_waits_while_it_has_it(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    chat.clock.install()
    chat.get_by_role("button", name="Delete first").focus()
    chat.keyboard.press("Enter")
    undo = chat.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    chat.clock.run_for(600_000)
    expect(undo).to_be_visible()
    chat.keyboard.press("Enter")
    expect(listed(chat)).to_have_text(["first"])


def test_undo_goes_when_one_has_had_time_to_read_it(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    chat.clock.install()
    delete(chat, "first")
    chat.mouse.move(0, 0)
    chat.get_by_label("Message").focus()
    chat.clock.run_for(19_000)
    expect(chat.get_by_role("button", name="Undo")).to_be_visible()
    chat.clock.run_for(2_000)
    expect(chat.get_by_role("button", name="Undo")).to_be_hidden()


def test_the_toast_is_heard_and_closed_by_escape(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    delete(chat, "first")
    assert chat.locator("#toast").get_attribute("role") == "status"
    chat.keyboard.press("Escape")
    expect(chat.locator("#toast")).to_be_hidden()
    expect(chat.get_by_label("Message")).to_be_focused()


def test_a_deleted_conversation_is_restored_from_the_list_also_after_a_reload(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    delete(chat, "first")
    chat.reload()
    expect(listed(chat)).to_have_count(0)
    chat.get_by_text("Deleted (1)").click()
    chat.get_by_role("button", name="Restore first").click()
    expect(listed(chat)).to_have_text(["first"])
    expect(chat.locator(".answer")).to_have_text(["one"])
    expect(chat.get_by_text("Deleted (1)")).to_be_hidden()


@pytest.mark.parametrize(("days", "left"), [(6, 1), (8, 0)])
def test_a_deleted_conversation_is_removed_for_good_after_a_week(
    chat: Page, upstream: Upstream, days: int, left: int
) -> None:
    converse(chat, upstream, "first", "one")
    delete(chat, "first")
    chat.evaluate(AGE, days)
    chat.reload()
    assert chat.evaluate("Object.keys(localStorage).filter((name) => name.includes('.turns.')).length") == left


def test_what_an_edited_question_replaces_comes_back_by_undo(chat: Page, upstream: Upstream) -> None:
    for answer in ("one", "two", "better"):
        upstream.answer(answer)
    for question in ("first", "second"):
        is_over(ask(chat, question))
    chat.locator(".turn").first.get_by_role("button", name="Edit").click()
    chat.get_by_label("Edit the question").fill("first, edited")
    chat.keyboard.press("Enter")
    expect(chat.locator(".answer")).to_have_text(["better"])
    is_over(chat.locator(".turn"))
    expect(chat.locator("#toast")).to_contain_text("2 questions were set aside.")
    chat.get_by_role("button", name="Undo").click()
    expect(chat.locator(".question")).to_have_text(["first", "second"])
    expect(chat.locator(".answer")).to_have_text(["one", "two"])
    expect(listed(chat)).to_have_text(["first"])
    chat.reload()
    expect(chat.locator(".answer")).to_have_text(["one", "two"])
    chat.get_by_text("Deleted (1)").click()  # what had taken its place is not lost either
    chat.get_by_role("button", name="Restore").click()
    expect(chat.locator(".answer")).to_have_text(["better"])


def test_an_answer_that_was_written_anew_comes_back_by_undo(chat: Page, upstream: Upstream) -> None:
    upstream.answer("one")
    upstream.answer("other", Stall())
    is_over(ask(chat, "first"))
    chat.get_by_role("button", name="Regenerate").click()
    expect(chat.locator(".answer")).to_have_text(["other"])
    chat.get_by_role("button", name="Undo").click()
    expect(chat.locator(".answer")).to_have_text(["one"])
    assert upstream.request(1).left.wait(SOON_S)
    expect(chat.get_by_role("button", name="Send")).to_be_visible()


# Several tabs


def two_tabs(chat: Page, site: Server) -> Page:
    other = chat.context.new_page()
    other.goto(site.url)
    return other


def test_tabs_do_not_overwrite_each_others_conversations(chat: Page, upstream: Upstream, site: Server) -> None:
    other = two_tabs(chat, site)
    converse(chat, upstream, "first", "one")
    converse(other, upstream, "second", "two")
    for tab in (chat, other):
        expect(listed(tab)).to_have_text(["second", "first"])
        tab.reload()
        expect(listed(tab)).to_have_text(["second", "first"])


def test_a_conversation_that_is_open_in_two_tabs_grows_in_both(chat: Page, upstream: Upstream, site: Server) -> None:
    converse(chat, upstream, "first", "one")
    other = two_tabs(chat, site)
    other.get_by_role("button", name="first", exact=True).click()
    gate = Gate()
    upstream.answer("tw", gate, "o")
    ask(other, "second")
    for tab in (chat, other):
        expect(tab.locator(".answer")).to_have_text(["one", "tw"])
    gate.open()
    for tab in (chat, other):
        expect(tab.locator(".answer")).to_have_text(["one", "two"])
        is_over(tab.locator(".turn").nth(1))
    assert len(upstream.requests) == 2
    upstream.answer("three")
    is_over(ask(chat, "third"))
    expect(other.locator(".answer")).to_have_text(["one", "two", "three"])
    for tab in (chat, other):
        tab.reload()
        expect(tab.locator(".answer")).to_have_text(["one", "two", "three"])


def test_a_tab_that_only_follows_an_answer_does_not_stop_it_by_going(
    chat: Page, upstream: Upstream, site: Server
) -> None:
    converse(chat, upstream, "first", "one")
    other = two_tabs(chat, site)
    other.get_by_role("button", name="first", exact=True).click()
    gate = Gate()
    upstream.answer("tw", gate, "o")
    turn = ask(chat, "second")
    expect(other.locator(".answer")).to_have_text(["one", "tw"])
    other.get_by_role("button", name="New conversation").click()
    gate.open()
    is_over(turn)
    expect(turn.locator(".answer")).to_have_text("two")


def test_an_answer_that_is_written_anew_elsewhere_replaces_the_one_that_is_followed(
    chat: Page, upstream: Upstream, site: Server
) -> None:
    converse(chat, upstream, "first", "one")
    other = two_tabs(chat, site)
    other.get_by_role("button", name="first", exact=True).click()
    upstream.answer("tw", Stall())
    upstream.answer("better")
    ask(chat, "second")
    expect(other.locator(".answer")).to_have_text(["one", "tw"])
    chat.locator(".turn").first.get_by_role("button", name="Regenerate").click()
    for tab in (chat, other):
        expect(tab.locator(".answer")).to_have_text(["better"])
        is_over(tab.locator(".turn"))
        tab.reload()
        expect(tab.locator(".answer")).to_have_text(["better"])


def test_a_conversation_that_another_tab_deletes_can_be_had_back_in_both(
    chat: Page, upstream: Upstream, site: Server
) -> None:
    converse(chat, upstream, "first", "one")
    other = two_tabs(chat, site)
    delete(other, "first")
    expect(chat.locator("#toast")).to_contain_text("This conversation was deleted in another tab.")
    expect(chat.locator(".turn")).to_have_count(0)
    chat.get_by_role("button", name="Undo").click()
    expect(chat.locator(".answer")).to_have_text(["one"])
    expect(listed(other)).to_have_text(["first"])


def test_an_answer_whose_tab_was_closed_is_found_from_the_list(chat: Page, upstream: Upstream, site: Server) -> None:
    other = two_tabs(chat, site)
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    expect(ask(other, "first").locator(".answer")).to_have_text("Hel")
    chat.get_by_role("button", name="first", exact=True).click()
    expect(chat.locator(".answer")).to_have_text(["Hel"])
    other.close()
    gate.open()
    expect(chat.locator(".answer")).to_have_text(["Hello"])
    is_over(chat.locator(".turn"))
    assert len(upstream.requests) == 1
    chat.reload()
    expect(chat.locator(".answer")).to_have_text(["Hello"])


def test_a_question_that_never_left_its_tab_can_be_asked_again(chat: Page, upstream: Upstream, site: Server) -> None:
    other = two_tabs(chat, site)
    other.route("**/llm/streams", lambda route: route.abort("connectionrefused"))
    ask(other, "first")
    expect(listed(chat)).to_have_text(["first"])
    other.close()
    chat.clock.set_fixed_time(time() + 120)
    chat.get_by_role("button", name="first", exact=True).click()
    is_over(chat.locator(".turn"), "failed")
    expect(chat.locator(".state")).to_have_text("The question was not sent.")
    upstream.answer("one")
    chat.get_by_role("button", name="Try again").click()
    expect(chat.locator(".answer")).to_have_text(["one"])


def test_undo_does_not_reach_into_another_conversation(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    converse(chat, upstream, "second", "two")
    upstream.answer("three")
    chat.get_by_role("button", name="Regenerate").click()
    expect(chat.locator("#toast")).to_be_visible()
    is_over(chat.locator(".turn"))
    chat.get_by_role("button", name="first", exact=True).click()
    expect(chat.locator("#toast")).to_be_hidden()
    expect(chat.get_by_text("Deleted (1)")).to_be_visible()


# Storage


def test_full_storage_is_told_and_the_page_goes_on(chat: Page, upstream: Upstream) -> None:
    chat.evaluate(FULL)
    upstream.answer("one")
    turn = ask(chat, "first")
    is_over(turn)
    expect(turn.locator(".answer")).to_have_text("one")
    expect(chat.locator("#toast")).to_contain_text("This browser's storage is full")
    expect(chat.get_by_role("button", name="Undo")).to_be_hidden()


def test_deleted_conversations_make_room_where_storage_is_full(chat: Page, upstream: Upstream) -> None:
    converse(chat, upstream, "first", "one")
    delete(chat, "first")
    chat.evaluate(FULL_OF_DELETED)
    converse(chat, upstream, "second", "two")
    expect(chat.locator("#toast")).to_contain_text("deleted conversations were removed for good")
    chat.reload()
    expect(listed(chat)).to_have_text(["second"])
    expect(chat.locator("#conversations details")).to_be_hidden()


def test_without_storage_the_page_works_as_long_as_it_is_open(page: Page, site: Server, upstream: Upstream) -> None:
    page.add_init_script(FORBIDDEN)
    page.goto(site.url)
    for answer in ("one", "two"):
        upstream.answer(answer)
        is_over(ask(page, answer))
    assert contents(upstream, 1) == ["one", "one", "two"]


@pytest.mark.parametrize("text", ["{", "null", "[]", '{"changed": 5}', '{"title": "old", "changed": 5}'])
def test_what_something_else_has_stored_does_no_harm(chat: Page, upstream: Upstream, text: Any) -> None:
    chat.evaluate(
        "text => { for (const kind of ['head', 'turns']) localStorage[`llm-stream.${kind}.x`] = text; }", text
    )
    chat.evaluate("sessionStorage['llm-stream.open'] = '\"x\"'")
    chat.reload()
    upstream.answer("one")
    is_over(ask(chat, "first"))
    expect(listed(chat).first).to_have_text("first")
