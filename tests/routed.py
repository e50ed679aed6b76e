"""Answers for the demo's page, event by event, in the place of the server's."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Page
from playwright.sync_api import Route

from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Start
from llm_stream.events import Usage
from llm_stream.wire.native import NativeWire

COMPLETED = Done("completed", "stop")


class Routed:
    """Answers the page's requests. `asked` has their bodies."""

    def __init__(self, page: Page) -> None:
        self.asked: list[Any] = []
        self._answers: list[tuple[Event, ...]] = []
        page.route("**/llm/streams", self._start)
        page.route("**/llm/streams/*", self._stream)

    def answer(self, *events: Event) -> None:
        """What the next question gets, from `start` on; without an end, it is a completed answer."""
        end = () if events and isinstance(events[-1], Done) else (Usage(source="unknown"), COMPLETED)
        self._answers.append((*events, *end))

    def say(self, text: str) -> None:
        self.answer(Delta(text))

    def _start(self, route: Route) -> None:
        self.asked.append(route.request.post_data_json)
        name = f"s{len(self.asked)}"
        route.fulfill(status=201, body=json.dumps({"id": name, "url": f"/llm/streams/{name}"}))

    def _stream(self, route: Route) -> None:
        name = route.request.url.rpartition("/")[2]
        if route.request.method != "GET" or not name.startswith("s"):
            route.fulfill(status=204)
            return
        events = [Start(name, "scripted", 1), *self._answers[int(name[1:]) - 1]]
        route.fulfill(body=NativeWire().encode(name, 1, events), content_type="text/event-stream")
