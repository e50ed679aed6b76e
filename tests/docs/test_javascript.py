"""docs/reference/javascript.md: its program runs in Chromium, and its tables have what the module has."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page as Tab
from playwright.sync_api import expect

from ..conftest import ROOT
from ..conftest import Server
from ..pages import page as page_of

RUNS = {"docs/reference/javascript.md": ["js"]}

JAVASCRIPT = page_of("docs/reference/javascript.md")
MODULE = (ROOT / "llm_stream/static/llm-stream.js").read_text()
TYPES = (ROOT / "llm_stream/static/llm-stream.d.ts").read_text()


@pytest.mark.browser
def test_program_shows_an_answer_and_its_states(site: Server, page: Tab) -> None:
    assert site.upstream
    site.upstream.answer("A web", " framework.", usage={"prompt_tokens": 3, "completion_tokens": 2})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type == "log" else None)
    page.goto(f"{site.url}/llm/static/llm-stream.d.ts")
    with page.expect_console_message(lambda message: message.text.startswith("completed")):
        page.add_script_tag(content=JAVASCRIPT.files()["ask.js"], type="module")
    expect(page.locator("body")).to_have_text("A web framework.")
    shown = JAVASCRIPT.block("text").split("…")[0].splitlines()
    assert said[:2] == shown[:2] and said[-1].startswith(shown[2])


@pytest.mark.browser
def test_program_shows_a_refusal(site: Server, page: Tab) -> None:
    page.goto(f"{site.url}/llm/static/llm-stream.d.ts")
    program = JAVASCRIPT.files()["ask.js"].replace('"What is Flask?"', '""')
    page.add_script_tag(content=program, type="module")
    expect(page.locator("body")).to_contain_text("The field 'prompt'")


def test_import_of_the_page_names_all_exports() -> None:
    (names,) = re.findall(r"import \{ (.*) \}", JAVASCRIPT.block("js"))
    exported = re.findall(r"^export (?:async )?(?:function|class)\*? (\w+)", MODULE, re.MULTILINE)
    assert set(names.split(", ")) == set(exported)


@pytest.mark.parametrize("name", ["FollowOptions", "Answer", "StreamError", "ChatRequest", "ToolCall", "Stream"])
def test_tables_have_every_field_of_the_types(name: str) -> None:
    (body,) = re.findall(rf"(?:interface|class) {name}\b[^{{]*\{{(.*?)\n\}}", TYPES, re.DOTALL)
    fields = set(re.findall(r"^  (?:readonly )?(\w+)\??[:(]", body, re.MULTILINE)) - {"constructor"}
    assert not {field for field in fields if not re.search(rf"`{field}\b", JAVASCRIPT.text)}


def test_types_of_events_are_all_named() -> None:
    types = set(re.findall(r'Event<"(\w+)"', TYPES))
    assert types == set(re.findall(r"`(\w+)`", JAVASCRIPT.text.partition("`type` is one of ")[2].partition(". ")[0]))


def test_waits_are_those_of_the_module() -> None:
    constants = dict(re.findall(r"^const (\w+) = ([\d_]+);", MODULE, re.MULTILINE))
    assert {name: constants[name] for name in ("FIRST_WAIT_MS", "LONGEST_WAIT_MS", "SILENCE_MS", "CROWD")} == {
        "FIRST_WAIT_MS": "1_000",
        "LONGEST_WAIT_MS": "30_000",
        "SILENCE_MS": "45_000",
        "CROWD": "4",
    }
