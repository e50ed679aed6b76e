"""The page on errors: its examples are what a client gets."""

from __future__ import annotations

import json
import re
from pathlib import Path

from llm_stream.testing import Cut
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..here import working
from ..pages import page

PAGE = "docs/reference/errors.md"
RUNS = {PAGE: ["python", "json"]}


def test_refusal_and_failure_have_the_form_of_the_page(upstream: Upstream) -> None:
    told = json.loads(page(PAGE).block("json"))
    with working(upstream, "memory://", retries=0) as pair:
        refused = pair.a.post("/llm/chat", prompt="").json()
        assert without_id(refused["error"]) == without_id(told["error"])
        upstream.answer("Hel", Cut())
        ((_, _, failure),) = [event for event in read_events(pair.a.post().content) if event[1] == "failure"]
    ((_, _, shown),) = read_events(page(PAGE).block("text").encode() + b"\n")
    assert without_id(failure) == without_id(shown)


def test_handler_of_the_app_goes_before_that_of_the_library(tmp_path: Path) -> None:
    with page(PAGE).imported(tmp_path) as module:
        client = module.app.test_client()
        for answer in (client.post("/ask"), client.post("/llm/chat", json={"prompt": "hi"})):
            assert (answer.status_code, answer.text) == (401, "<p>You are not signed in. Sign in and try again.</p>")


def test_every_wire_that_fails_writes_what_the_page_says(upstream: Upstream) -> None:
    section = page(PAGE).text.partition("## On each wire")[2].partition("\n## ")[0]
    wires = re.findall(r"^\| `([/=\w]+)` \|", section, re.MULTILINE)
    asked = {
        "format=text": ("/llm/chat?format=text", {"prompt": "hi"}, "[Response interrupted. Please try again.]"),
        "format=html": ("/llm/chat?format=html", {"prompt": "hi"}, '<p role="alert"'),
        "/v1/chat/completions": ("/llm/v1/chat/completions", chat(), '"error"'),
        "/v1/responses": ("/llm/v1/responses", {"model": "scripted", "stream": True, "input": "hi"}, "response.failed"),
        "/ui/chat": ("/llm/ui/chat", {"id": "c", "messages": [ui_message()]}, '"type":"error"'),
        "/agui": ("/llm/agui", run(), "RUN_ERROR"),
    }
    assert wires == list(asked)
    with working(upstream, "memory://", retries=0) as pair:
        for wire, (path, body, written) in asked.items():
            upstream.answer("Hel", Cut())
            answer = pair.a.request("POST", path, json=body)
            assert (answer.status_code, written in answer.text) == (200, True), wire


def chat() -> dict[str, object]:
    return {"model": "scripted", "stream": True, "messages": [{"role": "user", "content": "hi"}]}


def ui_message() -> dict[str, object]:
    return {"id": "m", "role": "user", "parts": [{"type": "text", "text": "hi"}]}


def run() -> dict[str, object]:
    messages = [{"id": "m", "role": "user", "content": "hi"}]
    return {
        "threadId": "t",
        "runId": "r",
        "state": {},
        "messages": messages,
        "tools": [],
        "context": [],
        "forwardedProps": {},
    }


def without_id(error: dict[str, object]) -> dict[str, object]:
    return {name: value for name, value in error.items() if name != "error_id"}
