"""llm-stream.js puts an answer together from its events, and makes the next turn's messages of it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import pytest
from playwright.sync_api import Page

from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Partial
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Source
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.wire.answer import fields_of
from llm_stream.wire.native import NativeWire
from llm_stream.wire.turn import turn_of

from .scripted import ScriptedSite
from .test_browser_client import loaded
from .test_browser_client import over
from .test_browser_client import reading

pytestmark = pytest.mark.browser

URL = "/llm/streams/abc"
START = Start("abc", "scripted", 1)
CALLED = Done("completed", "tool_calls")

TWO_STEPS = [
    START,
    Reasoning("Let me "),
    Reasoning("look."),
    Delta("I look it up. "),
    ToolCall(0, "", "call_a", "weather", server=True),
    ToolCall(0, '{"city":'),
    ToolCall(0, ' "Zürich"}', opaque={"extra_content": {"google": {"thought_signature": "s=="}}}),
    ToolCall(1, "{}", "call_b", "news", server=True),
    Opaque({"reasoning_details": [{"type": "reasoning.encrypted", "data": "e=="}]}, "reasoning_content"),
    ToolResult("call_a", "weather", {"celsius": 21}),
    ToolResult("call_b", "news", error="The tool failed."),
    Step(2),
    Delta("It is 21 °C."),
    Source("https://a.example", "A", 0, 5),
    File("data:image/png;base64,AA==", "image/png", "sky.png"),
    Done("completed", "stop"),
]
ASKS = [
    START,
    Delta("May I?"),
    ToolCall(0, '{"note": 1}', "call_d", "delete_note", server=True),
    Approval("token", "call_d", "delete_note"),
    CALLED,
]


@pytest.fixture
def server() -> Iterator[ScriptedSite]:
    site = ScriptedSite()
    yield site
    site.close()


class Tab:
    """A page that reads answers which the test has written."""

    def __init__(self, page: Page, server: ScriptedSite) -> None:
        self.page = page
        self.server = server

    def read(self, *events: Event) -> Any:
        """The answer; `answer` in the page."""
        self.server.answer(NativeWire().encode("abc", 1, events))
        reading(self.page, URL)
        return over(self.page)

    def messages(self, *events: Event) -> Any:
        self.read(*events)
        return self.page.evaluate("answer.messages")


@pytest.fixture
def tab(open_tab: Callable[..., Page], server: ScriptedSite) -> Tab:
    return Tab(loaded(open_tab()), server)


# What an answer has…


def test_tool_results_are_in_their_calls(tab: Tab) -> None:
    weather, news = tab.read(*TWO_STEPS)["toolCalls"]
    assert (weather["server"], weather["arguments"], weather["result"]) == (
        True,
        '{"city": "Zürich"}',
        {"celsius": 21},
    )
    assert (news["error"], "result" in news) == ("The tool failed.", False)


def test_tool_result_of_nothing_is_a_result(tab: Tab) -> None:
    (call,) = tab.read(START, ToolCall(0, "{}", "a", "wait", server=True), ToolResult("a", "wait", None), CALLED)[
        "toolCalls"
    ]
    assert call["result"] is None


def test_tool_result_of_an_id_that_comes_again_belongs_to_the_last_call(tab: Tab) -> None:
    """Some providers number the calls of each step from 0."""
    steps: list[Event] = []
    for number in (1, 2):
        call = ToolCall(number - 1, "{}", "call_0", "count", server=True)
        steps += [*([Step(number)] if number > 1 else []), call, ToolResult("call_0", "count", number)]
    calls = tab.read(START, *steps, Delta("2"), Done("completed", "stop"))["toolCalls"]
    assert [call["result"] for call in calls] == [1, 2]


def test_tool_results_of_earlier_answers_are_apart(tab: Tab) -> None:
    answer = tab.read(START, ToolResult("call_d", "delete_note", True), Delta("Gone."), Done("completed", "stop"))
    assert answer["results"] == [{"id": "call_d", "name": "delete_note", "result": True}]
    assert answer["toolCalls"] == []


def test_steps_have_each_its_text_and_its_calls(tab: Tab) -> None:
    first, second = tab.read(*TWO_STEPS)["steps"]
    assert (first["text"], first["reasoning"], len(first["toolCalls"])) == ("I look it up. ", "Let me look.", 2)
    assert (second["number"], second["text"], second["toolCalls"]) == (2, "It is 21 °C.", [])


def test_sources_and_files_are_listed(tab: Tab) -> None:
    answer = tab.read(*TWO_STEPS)
    assert answer["sources"] == [{"url": "https://a.example", "title": "A", "start": 0, "end": 5}]
    assert answer["files"] == [{"url": "data:image/png;base64,AA==", "media_type": "image/png", "name": "sky.png"}]


def test_data_is_replaced_by_name_and_id_and_transient_data_is_no_part(tab: Tab) -> None:
    data = [
        Data("progress", 1, id="a"),
        Data("progress", 1),
        Data("other", 1, id="a"),
        Data("progress", 2, id="a"),
        Data("progress", 3),
        Data("progress", 4, id="a", transient=True),
    ]
    kept = tab.read(START, *data, Done("completed"))["data"]
    assert [(each["name"], each.get("id"), each["data"]) for each in kept] == [
        ("progress", "a", 2),
        ("progress", None, 1),
        ("other", "a", 1),
        ("progress", None, 3),
    ]


def test_approvals_are_listed_and_named_in_their_calls(tab: Tab) -> None:
    answer = tab.read(*ASKS)
    assert answer["approvals"] == [{"id": "token", "call_id": "call_d", "name": "delete_note"}]
    assert answer["toolCalls"][0]["approval"] == "token"


def test_partial_is_the_json_so_far_and_parsed_is_it_whole(tab: Tab) -> None:
    written = [START, Partial({}), Partial({"city": "Pu"})]
    answer = tab.read(*written, Done("incomplete", "length"))
    assert (answer["partial"], answer.get("parsed")) == ({"city": "Pu"}, None)
    answer = tab.read(*written, Partial({"city": "Pune"}, whole=True), Done("completed", "stop"))
    assert answer["partial"] == answer["parsed"] == {"city": "Pune"}


@pytest.mark.parametrize("void", [Step(2), Reset("upstream_cut")])
def test_partial_is_void_after_a_step_and_a_reset(tab: Tab, void: Event) -> None:
    answer = tab.read(START, Partial({"city": "Pu"}), void, Delta("{"), Done("incomplete", "length"))
    assert answer.get("partial") is None


def test_a_reset_discards_all_content(tab: Tab) -> None:
    answer = tab.read(
        *ASKS[:-1],
        *TWO_STEPS[1:-1],
        ToolResult("earlier", "x", 1),
        Data("progress", 1),
        Refusal("No."),
        Reset("retry"),
        Delta("Hello"),
        Done("completed", "stop"),
    )
    assert answer["text"] == "Hello"
    for field in ("toolCalls", "results", "sources", "files", "data", "approvals"):
        assert answer[field] == [], field
    assert answer["reasoning"] == answer["refusal"] == ""
    assert [step["text"] for step in answer["steps"]] == ["Hello"]
    assert tab.page.evaluate("answer.messages") == [{"role": "assistant", "content": "Hello"}]


# What is sent of it…

ANSWERS: dict[str, Sequence[Event]] = {
    "text": [START, Delta("Hel"), Delta("lo"), Done("completed", "stop")],
    "nothing": [START, Done("failed")],
    "a refusal": [START, Refusal("I will not."), Done("completed", "stop")],
    "two steps": TWO_STEPS,
    "a call for the reader": [START, ToolCall(0, "{}", "call_r", "ask_user"), CALLED],
    "a call for approval": ASKS,
    "a call that was not made": [*ASKS[:-1], Done("cancelled")],
    "an open call in an earlier step": [*ASKS[:-1], Step(2), Delta("Well."), Done("completed", "stop")],
    "an open call beside another": [*TWO_STEPS[:10], Done("completed", "tool_calls")],
    "an answer cut short in its second step": [*TWO_STEPS[:13], Done("incomplete", "max_steps")],
    "an approved call": [
        START,
        ToolResult("call_d", "delete_note", None),
        Step(2),
        Delta("Gone."),
        Done("completed", "stop"),
    ],
    "reasoning without a name": [START, Reasoning("Hm."), Delta("Yes."), Done("completed", "stop")],
    "reasoning that goes back": [
        START,
        Reasoning("Hm."),
        Delta("Yes."),
        Opaque(reasoning="reasoning"),
        Done("completed"),
    ],
}


@pytest.mark.parametrize("name", ANSWERS)
def test_messages_of_an_answer_are_those_that_the_server_makes_of_it(tab: Tab, name: str) -> None:
    results, messages = turn_of(ANSWERS[name])
    answer = tab.read(*ANSWERS[name])
    assert tab.page.evaluate("answer.messages") == messages
    assert answer["results"] == results


def test_messages_have_what_the_provider_wants_back(tab: Tab) -> None:
    first, second = tab.messages(*TWO_STEPS)
    assert first["opaque"] == {
        "reasoning_content": "Let me look.",
        "reasoning_details": [{"type": "reasoning.encrypted", "data": "e=="}],
    }
    assert first["tool_calls"][0]["opaque"] == {"extra_content": {"google": {"thought_signature": "s=="}}}
    assert second == {"role": "assistant", "content": "It is 21 °C."}


def test_messages_are_the_same_after_the_answer_was_stored(tab: Tab) -> None:
    messages = tab.messages(*TWO_STEPS)
    assert tab.page.evaluate("Object.assign(new Answer(), JSON.parse(JSON.stringify(answer))).messages") == messages


CONVERSE = """() => {
    window.conversation = answer.appendTo(conversation);
    return conversation;
}"""


def test_the_result_of_an_approved_call_goes_into_the_call(tab: Tab) -> None:
    question = {"role": "user", "content": "Delete it."}
    tab.page.evaluate("question => { window.conversation = [question]; }", question)
    tab.read(*ASKS)
    before = tab.page.evaluate(CONVERSE)
    tab.page.evaluate("window.before = JSON.stringify(conversation)")
    assert "result" not in before[1]["tool_calls"][0]
    result = ToolResult("call_d", "delete_note", {"deleted": 1})
    tab.read(START, result, Delta("It is gone."), Done("completed", "stop"))
    tab.page.evaluate("window.earlier = conversation")
    asked, called, said = tab.page.evaluate(CONVERSE)
    assert asked == question
    assert called["tool_calls"] == [before[1]["tool_calls"][0] | {"result": fields_of(result)["result"]}]
    assert said == {"role": "assistant", "content": "It is gone."}
    assert tab.page.evaluate("JSON.stringify(earlier) === before")  # the list that was given is as it was


def test_the_error_of_a_denied_call_goes_into_the_call(tab: Tab) -> None:
    tab.page.evaluate("window.conversation = []")
    tab.read(*ASKS)
    tab.page.evaluate(CONVERSE)
    tab.read(START, ToolResult("call_d", "delete_note", error="Denied."), Delta("As you wish."), Done("completed"))
    called, said = tab.page.evaluate(CONVERSE)
    assert called["tool_calls"][0]["error"] == "Denied."
    assert said["content"] == "As you wish."
