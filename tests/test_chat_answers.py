"""The demo's chat page shows what an answer has beside its text: tool calls, approvals, sources, files, data."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Locator
from playwright.sync_api import Page
from playwright.sync_api import expect

from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Reasoning
from llm_stream.events import Source
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.testing import Gate

from .calling import call
from .calling import fragment
from .conftest import Server
from .routed import Routed
from .test_chat_page import CONTRASTS
from .test_chat_page import FOCUSED
from .test_chat_page import ask
from .test_chat_page import is_over

pytestmark = pytest.mark.browser

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAAUEBAAAACwAAAAAAQABAAACAkQBADs="
CALLED = Done("completed", "tool_calls")
WEATHER = [
    Delta("I look it up."),
    ToolCall(0, '{"city":"Zürich"}', "call_w", "weather", server=True),
    ToolResult("call_w", "weather", {"celsius": 21}),
    Step(2),
    Delta("It is 21 °C."),
]
FAILING = [
    ToolCall(0, "{}", "call_n", "news", server=True),
    ToolResult("call_n", "news", error="The tool failed."),
    Step(2),
    Delta("There is no news."),
]


def asks(*names: str) -> list[Any]:
    """An answer that ends with calls which wait for approval."""
    calls = [ToolCall(at, f'{{"note":{at}}}', f"call_{name}", name, server=True) for at, name in enumerate(names)]
    waits = [Approval(f"token_{name}", f"call_{name}", name) for name in names]
    return [Delta("May I?"), *calls, *waits, Usage(10, 5, source="provider"), CALLED]


@pytest.fixture
def chat(page: Page, site: Server) -> Page:
    page.goto(site.url)
    return page


@pytest.fixture
def server(chat: Page) -> Routed:
    return Routed(chat)


def call_of(turn: Locator, name: str) -> Locator:
    return turn.locator(".call").filter(has=turn.page.get_by_text(name, exact=True))


# Tools


def test_a_tool_call_is_folded_with_what_went_in_and_came_out(chat: Page, server: Routed) -> None:
    server.answer(*WEATHER)
    turn = ask(chat)
    is_over(turn)
    call = call_of(turn, "weather")
    expect(call.locator(".call-state")).to_have_text("done")
    expect(call.get_by_label("Arguments")).to_be_hidden()
    call.locator("summary").click()
    expect(call.get_by_label("Arguments")).to_contain_text('"city": "Zürich"')
    expect(call.get_by_label("Result")).to_contain_text('"celsius": 21')


def test_a_tool_call_is_there_while_it_runs_and_stays_unfolded(chat: Page, site: Server) -> None:
    gate = Gate()
    assert site.upstream
    site.upstream.answer(fragment({"tool_calls": [call("ask_user", question="Why?")]}), gate, "Well.")
    turn = ask(chat)
    expect(turn.locator(".call-state")).to_have_text("running…")
    turn.locator(".call summary").click()
    gate.open()
    is_over(turn)
    expect(turn.locator(".answer")).to_have_text("Well.")
    expect(turn.locator(".call-state")).to_have_text("not run")  # the page has no tools of its own
    expect(turn.get_by_label("Arguments")).to_contain_text("Why?")


def test_a_tool_call_stands_between_the_texts_of_its_steps(chat: Page, server: Routed) -> None:
    server.answer(*WEATHER)
    turn = ask(chat)
    is_over(turn)
    assert turn.locator(".steps").inner_text().split("\n\n") == ["I look it up.", "weather done", "It is 21 °C."]
    expect(turn.locator(".answer")).to_have_text(["I look it up.", "It is 21 °C."])


def test_a_tool_that_failed_says_what_the_model_was_told(chat: Page, server: Routed) -> None:
    server.answer(*FAILING)
    turn = ask(chat)
    is_over(turn)
    call = call_of(turn, "news")
    expect(call.locator(".call-state")).to_have_text("failed")
    call.locator("summary").click()
    expect(call.get_by_label("Error")).to_have_text("The tool failed.")


def test_a_tool_call_is_unfolded_by_keyboard(chat: Page, server: Routed) -> None:
    server.answer(*WEATHER)
    turn = ask(chat)
    is_over(turn)
    turn.locator(".call summary").focus()
    chat.keyboard.press("Enter")
    expect(turn.get_by_label("Result")).to_be_visible()


def test_the_next_question_takes_calls_results_and_what_the_provider_wants_back_along(
    chat: Page, server: Routed
) -> None:
    opaque = Opaque({"extra_content": {"signature": "s=="}}, "reasoning_content")
    server.answer(Reasoning("Hm."), *WEATHER[:2], opaque, *WEATHER[2:])
    server.say("You are welcome.")
    is_over(ask(chat, "What is the weather?"))
    chat.reload()  # it is kept with the conversation
    is_over(ask(chat, "Thanks."))
    function = {"name": "weather", "arguments": '{"city":"Zürich"}'}
    call = {"id": "call_w", "type": "function", "function": function, "result": {"celsius": 21}}
    assert server.asked[1]["messages"] == [
        {"role": "user", "content": "What is the weather?"},
        {
            "role": "assistant",
            "content": "I look it up.",
            "tool_calls": [call],
            "opaque": {"reasoning_content": "Hm.", "extra_content": {"signature": "s=="}},
        },
        {"role": "assistant", "content": "It is 21 °C."},
        {"role": "user", "content": "Thanks."},
    ]


def test_copying_takes_the_texts_of_all_steps(chat: Page, server: Routed) -> None:
    chat.context.grant_permissions(["clipboard-read", "clipboard-write"])
    server.answer(*WEATHER)
    turn = ask(chat)
    is_over(turn)
    turn.get_by_role("button", name="Copy").click()
    expect(turn.get_by_role("button", name="Copied")).to_be_visible()
    assert chat.evaluate("navigator.clipboard.readText()") == "I look it up.\n\nIt is 21 °C."


# Approvals


def test_a_call_that_wants_approval_shows_its_arguments_and_asks(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    turn = ask(chat, "Delete it.")
    is_over(turn)
    expect(turn.get_by_label("Arguments")).to_have_text('{\n  "note": 0\n}')
    expect(turn.get_by_role("group", name="May delete_note run?")).to_be_visible()
    expect(turn.locator(".state")).to_contain_text("Waiting for your decision")
    expect(chat.locator("#announcer p").last).to_have_text("Waiting for your decision")


def test_an_approved_call_runs_and_the_answer_goes_on_in_its_place(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(ToolResult("call_delete_note", "delete_note", {"deleted": 0}), Step(2), Delta("It is gone."))
    turn = ask(chat, "Delete it.")
    turn.get_by_role("button", name="Allow").click()
    expect(turn.locator(".answer")).to_have_text(["May I?", "It is gone."])
    is_over(turn)
    expect(turn.locator(".call-state")).to_have_text("done")
    expect(turn.get_by_role("button", name="Allow")).to_be_hidden()
    expect(chat.get_by_label("Message")).to_be_focused()
    asked = server.asked[1]
    assert asked["approvals"] == {"token_delete_note": True}
    assert asked["key"] != server.asked[0]["key"]
    assert [message["role"] for message in asked["messages"]] == ["user", "assistant"]
    (call,) = asked["messages"][1]["tool_calls"]
    assert call["id"] == "call_delete_note" and "result" not in call
    expect(chat.locator(".turn")).to_have_count(1)


def test_a_denied_call_is_told_to_the_model(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(ToolResult("call_delete_note", "delete_note", error="Denied."), Delta("As you wish."))
    turn = ask(chat, "Delete it.")
    turn.get_by_role("button", name="Deny").focus()
    chat.keyboard.press("Enter")
    expect(turn.locator(".answer")).to_have_text(["May I?", "As you wish."])
    expect(turn.locator(".call-state")).to_have_text("failed")
    assert server.asked[1]["approvals"] == {"token_delete_note": {"approved": False, "reason": "The user denied it."}}


def test_several_calls_are_decided_one_by_one_and_sent_together(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note", "send_mail"))
    server.answer(
        ToolResult("call_delete_note", "delete_note", 1), ToolResult("call_send_mail", "send_mail", error="No.")
    )
    turn = ask(chat, "Do it.")
    call_of(turn, "delete_note").get_by_role("button", name="Allow").click()
    expect(call_of(turn, "delete_note").locator(".call-state")).to_have_text("allowed")
    expect(call_of(turn, "send_mail").get_by_role("button", name="Allow")).to_be_focused()
    assert len(server.asked) == 1
    call_of(turn, "send_mail").get_by_role("button", name="Deny").click()
    expect(call_of(turn, "delete_note").locator(".call-state")).to_have_text("done")
    assert set(server.asked[1]["approvals"]) == {"token_delete_note", "token_send_mail"}


def test_an_approval_can_be_given_after_a_reload(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(ToolResult("call_delete_note", "delete_note", None), Delta("It is gone."))
    is_over(ask(chat, "Delete it."))
    chat.reload()
    chat.get_by_role("button", name="Allow").click()
    expect(chat.locator(".answer")).to_have_text(["May I?", "It is gone."])
    expect(chat.locator(".call-state")).to_have_text("done")


def test_a_decision_that_could_not_be_sent_is_sent_again(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(ToolResult("call_delete_note", "delete_note", None), Delta("It is gone."))
    turn = ask(chat, "Delete it.")
    is_over(turn)
    refusal = '{"error": {"code": "too_many_streams", "message": "Too many.", "retryable": true}}'
    chat.route("**/llm/streams", lambda route: route.fulfill(status=429, body=refusal), times=1)
    turn.get_by_role("button", name="Allow").click()
    is_over(turn, "failed")
    turn.get_by_role("button", name="Try again").click()
    expect(turn.locator(".answer")).to_have_text(["May I?", "It is gone."])
    assert server.asked[1]["approvals"] == {"token_delete_note": True}


def test_the_turn_after_an_approval_has_the_result_in_its_call(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(ToolResult("call_delete_note", "delete_note", None), Step(2), Delta("It is gone."))
    server.say("You are welcome.")
    turn = ask(chat, "Delete it.")
    turn.get_by_role("button", name="Allow").click()
    expect(turn.locator(".answer")).to_have_text(["May I?", "It is gone."])
    is_over(turn)
    chat.reload()
    is_over(ask(chat, "Thanks."))
    called, said = server.asked[2]["messages"][1:3]
    assert called["tool_calls"][0]["result"] is None
    assert said == {"role": "assistant", "content": "It is gone."}


def test_another_question_leaves_the_open_call_out(chat: Page, server: Routed) -> None:
    """Providers refuse calls without a result."""
    server.answer(*asks("delete_note"))
    server.say("Well.")
    first = ask(chat, "Delete it.")
    is_over(first)
    is_over(ask(chat, "Do not."))
    assert server.asked[1]["messages"] == [
        {"role": "user", "content": "Delete it."},
        {"role": "assistant", "content": "May I?"},
        {"role": "user", "content": "Do not."},
    ]
    expect(first.get_by_role("button", name="Allow")).to_be_hidden()


def test_the_cost_of_a_turn_is_that_of_all_its_answers(chat: Page, server: Routed) -> None:
    server.answer(*asks("delete_note"))
    server.answer(
        ToolResult("call_delete_note", "delete_note", None),
        Delta("Gone."),
        Usage(20, 7, source="provider"),
        Done("completed", "stop"),
    )
    turn = ask(chat, "Delete it.")
    turn.get_by_role("button", name="Allow").click()
    expect(turn.locator(".state")).to_contain_text("30 tokens in")
    expect(turn.locator(".state")).to_contain_text("12 tokens out")


# Sources, files and data


def test_sources_are_links_that_do_not_tell_where_one_comes_from(chat: Page, server: Routed) -> None:
    server.answer(Delta("So it is."), Source("https://a.example/x", "A page"), Source("https://b.example/"))
    turn = ask(chat)
    is_over(turn)
    links = turn.get_by_role("list", name="Sources").get_by_role("link")
    expect(links).to_have_text(["A page", "https://b.example/"])
    expect(links.first).to_have_attribute("href", "https://a.example/x")
    expect(links.first).to_have_attribute("rel", "noopener noreferrer nofollow")
    expect(links.first).to_have_attribute("target", "_blank")


def test_a_picture_in_the_answer_is_shown_and_one_elsewhere_is_a_link(chat: Page, server: Routed, site: Server) -> None:
    asked: list[str] = []
    chat.on("request", lambda request: asked.append(request.url))
    server.answer(File(PIXEL, "image/gif", "A pixel"), File("https://elsewhere.example/b.png?secret", "image/png"))
    turn = ask(chat)
    is_over(turn)
    picture = turn.get_by_role("img", name="A pixel")
    expect(picture).to_be_visible()
    assert picture.evaluate("picture => picture.naturalWidth") == 1
    expect(turn.get_by_role("link", name="image/png")).to_have_attribute(
        "href", "https://elsewhere.example/b.png?secret"
    )
    assert all(url.startswith((site.url, "data:")) for url in asked)


def test_a_document_in_the_answer_can_be_saved(chat: Page, server: Routed) -> None:
    server.answer(File("data:text/csv;base64,YSxi", "text/csv", "table.csv"))
    turn = ask(chat)
    is_over(turn)
    with chat.expect_download() as saving:
        turn.get_by_role("link", name="table.csv").click()
    assert saving.value.suggested_filename == "table.csv"
    assert saving.value.path().read_text() == "a,b"


def test_data_of_the_app_is_folded_json(chat: Page, server: Routed) -> None:
    server.answer(Data("progress", {"done": 1}, id="p"), Delta("Yes."), Data("progress", {"done": 2}, id="p"))
    turn = ask(chat)
    is_over(turn)
    expect(turn.locator(".data")).to_have_count(1)
    expect(turn.get_by_label("progress")).to_be_hidden()
    turn.locator(".data summary").click()
    expect(turn.get_by_label("progress")).to_have_text('{\n  "done": 2\n}')


# For everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_of_it_can_be_read(chat: Page, server: Routed, scheme: Any) -> None:
    chat.emulate_media(color_scheme=scheme)
    server.answer(
        *WEATHER, Source("https://a.example/x", "A page"), File("https://a.example/", "image/png"), Data("d", 1)
    )
    server.answer(*FAILING)
    server.answer(*asks("delete_note", "send_mail"))
    for question in ("one", "two", "three"):
        is_over(ask(chat, question))
    for summary in chat.locator("summary:visible").all():
        summary.click()
    call_of(chat.locator(".turn").last, "send_mail").get_by_role("button", name="Deny").click()
    chat.mouse.move(0, 0)
    assert chat.evaluate(CONTRASTS) == []
    chat.get_by_role("button", name="Delete one").click()
    chat.get_by_text("Deleted (1)").click()
    assert chat.evaluate(CONTRASTS) == []


def test_all_of_it_is_reached_by_keyboard_and_has_a_name(chat: Page, server: Routed) -> None:
    server.answer(*WEATHER, Source("https://a.example/x", "A page"), Data("progress", 1))
    server.answer(*asks("delete_note"))
    for question in ("one", "two"):
        is_over(ask(chat, question))
    names = set()
    for _ in range(40):
        chat.keyboard.press("Tab")
        names.add(chat.evaluate(FOCUSED))
    assert {"weather done", "delete_note waits for you", "Arguments", "Allow", "Deny", "A page", "progress"} <= names
    assert {"one", "Delete one", "Add pictures or PDFs", "Message"} <= names
    assert all(names)


def test_it_fits_a_narrow_phone(chat: Page, server: Routed) -> None:
    chat.set_viewport_size({"width": 320, "height": 568})
    long = "x" * 300
    server.answer(
        Delta("May I?"),
        ToolCall(0, f'{{"{long}":"{long}"}}', "a", long, server=True),
        Source(f"https://a.example/{long}"),
        File(f"https://a.example/{long}", "image/png", long),
        Data(long, {long: long}),
        Approval("token", "a", long),
        CALLED,
    )
    is_over(ask(chat, long))
    for summary in chat.locator("main summary:visible").all():
        summary.click()
    assert chat.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert chat.evaluate("document.querySelector('main').scrollWidth <= innerWidth")
