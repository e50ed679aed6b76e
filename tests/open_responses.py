"""Checks responses and their events as strictly as their readers do: by the specification's models, and by OpenAI's.

https://www.openresponses.org/specification
"""

from __future__ import annotations

import json
from typing import Any
from typing import get_args

import httpx2
import openresponses_types
from openai.types.responses import Response
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel

from .conftest import PATIENCE_S
from .conftest import Site

EVENTS: dict[str, type[BaseModel]] = {
    str(next(iter(model.model_fields["type"].annotation))): model
    for name, model in vars(openresponses_types).items()
    if name.endswith("StreamingEvent")
}
"""The specification's models of events, by their type; below are OpenAI's."""

OPENAI_EVENTS: dict[str, type[BaseModel]] = {
    get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(get_args(ResponseStreamEvent)[0])
}

ENDS = ("response.completed", "response.incomplete", "response.failed")

SNAPSHOTS = ("response.created", "response.queued", "response.in_progress", *ENDS)


def ask(site: Site, *, stream: bool = False, **body: Any) -> httpx2.Response:
    asked = {"model": "openai/gpt-4o-mini", "input": "hi", "stream": stream} | body
    return httpx2.post(f"{site.url}/llm/v1/responses", json=asked, timeout=PATIENCE_S)


def check_response(response: dict[str, Any]) -> None:
    openresponses_types.ResponseResource.model_validate_json(json.dumps(response), strict=True)
    Response.model_validate(response)


def answered(site: Site, **body: Any) -> dict[str, Any]:
    """A whole response that keeps the rules."""
    answer = ask(site, **body)
    assert answer.status_code == 200, answer.text
    response: dict[str, Any] = answer.json()
    check_response(response)
    return response


def streamed(site: Site, **body: Any) -> list[dict[str, Any]]:
    """The events of a response that keep the rules."""
    answer = ask(site, stream=True, **body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = read(answer.text)
    check_events(events)
    return events


def read(text: str) -> list[dict[str, Any]]:
    """Frames of `event:` and `data:`, whose type is the same; comments may stand in between."""
    events = []
    for frame in text.split("\n\n"):
        lines = [line for line in frame.splitlines() if line and not line.startswith((":", "retry:"))]
        if not lines:
            continue
        name, data = (line.partition(": ")[2] for line in lines)
        event = json.loads(data)
        assert event["type"] == name
        events.append(event)
    return events


def check_events(events: list[dict[str, Any]]) -> None:
    """Each event by itself, and then all of them: nothing is said about what is not open."""
    for event in events:
        if not event["type"].startswith("llm_stream."):
            OPENAI_EVENTS[event["type"]].model_validate(event)
        if model := EVENTS.get(event["type"]):
            model.model_validate_json(json.dumps(event), strict=True)
        if event["type"] in SNAPSHOTS:
            check_response(event["response"])
    numbers = [event["sequence_number"] for event in events]
    assert numbers == sorted(set(numbers))
    assert [event["type"] for event in events if event["type"] in ("response.created", *ENDS)] == [
        events[0]["type"],
        events[-1]["type"],
    ]
    Reader().follow(events)


class Reader:
    """Follows the rules of items and parts: opened once, written to while open, closed as they were written."""

    def __init__(self) -> None:
        self.items: dict[int, dict[str, Any]] = {}
        self.closed: dict[int, dict[str, Any]] = {}
        self._parts: dict[tuple[str, int], str] = {}

    def follow(self, events: list[dict[str, Any]]) -> None:
        for event in events:
            handler = getattr(self, "_" + event["type"].removeprefix("response.").replace(".", "_"), None)
            if "item_id" in event:
                assert self.items[event["output_index"]]["id"] == event["item_id"]
            if handler:
                handler(event)
        assert not self.items and not self._parts
        if events[-1]["type"] == "response.completed":
            assert events[-1]["response"]["output"] == [self.closed[index] for index in sorted(self.closed)]

    def _output_item_added(self, event: dict[str, Any]) -> None:
        assert event["output_index"] == len(self.items) + len(self.closed)
        self.items[event["output_index"]] = event["item"]

    def _output_item_done(self, event: dict[str, Any]) -> None:
        opened = self.items.pop(event["output_index"])
        assert (opened["id"], opened["type"]) == (event["item"]["id"], event["item"]["type"])
        assert event["item"].get("status") in (None, "completed", "incomplete", "failed")
        self.closed[event["output_index"]] = event["item"]

    def _content_part_added(self, event: dict[str, Any]) -> None:
        self._open(event, "content_index")

    def _reasoning_summary_part_added(self, event: dict[str, Any]) -> None:
        self._open(event, "summary_index")

    def _output_text_delta(self, event: dict[str, Any]) -> None:
        self._write(event, "content_index")

    def _refusal_delta(self, event: dict[str, Any]) -> None:
        self._write(event, "content_index")

    def _reasoning_summary_text_delta(self, event: dict[str, Any]) -> None:
        self._write(event, "summary_index")

    def _output_text_done(self, event: dict[str, Any]) -> None:
        assert self._parts[event["item_id"], event["content_index"]] == event["text"]

    def _refusal_done(self, event: dict[str, Any]) -> None:
        assert self._parts[event["item_id"], event["content_index"]] == event["refusal"]

    def _reasoning_summary_text_done(self, event: dict[str, Any]) -> None:
        assert self._parts[event["item_id"], event["summary_index"]] == event["text"]

    def _content_part_done(self, event: dict[str, Any]) -> None:
        part = event["part"]
        written = part["text"] if part["type"] == "output_text" else part["refusal"]
        assert self._parts.pop((event["item_id"], event["content_index"])) == written

    def _reasoning_summary_part_done(self, event: dict[str, Any]) -> None:
        assert self._parts.pop((event["item_id"], event["summary_index"])) == event["part"]["text"]

    def _function_call_arguments_delta(self, event: dict[str, Any]) -> None:
        item = self.items[event["output_index"]]
        item["arguments"] += event["delta"]

    def _function_call_arguments_done(self, event: dict[str, Any]) -> None:
        assert self.items[event["output_index"]]["arguments"] == event["arguments"]

    def _open(self, event: dict[str, Any], index: str) -> None:
        place = (event["item_id"], event[index])
        assert place not in self._parts
        self._parts[place] = ""

    def _write(self, event: dict[str, Any], index: str) -> None:
        self._parts[event["item_id"], event[index]] += event["delta"]
