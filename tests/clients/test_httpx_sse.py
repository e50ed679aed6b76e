"""Python's event stream readers, on the native wire: `httpx-sse`, and the one that httpx2 has made of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import httpx2
import httpx_sse
import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..agent_events import DATA
from ..agent_events import RESULT
from ..agent_events import SOURCE
from ..agent_events import STEP
from ..conftest import PATIENCE_S
from ..conftest import Event
from ..conftest import Server
from ..conftest import of_kind
from ..conftest import text_of
from .scripts import AWKWARD
from .scripts import CALLED
from .scripts import TOOLS
from .scripts import USAGE
from .scripts import USED
from .scripts import called
from .scripts import reasoning

URL = "/llm/chat?prompt=hi"


@contextmanager
def by_httpx_sse(method: str, url: str, **options: Any) -> Iterator[Iterator[Any]]:
    with httpx.Client(timeout=PATIENCE_S) as client, httpx_sse.connect_sse(client, method, url, **options) as source:
        source.response.raise_for_status()
        yield source.iter_sse()


@contextmanager
def by_httpx2(method: str, url: str, **options: Any) -> Iterator[Iterator[Any]]:
    with httpx2.Client(timeout=PATIENCE_S) as client, client.stream(method, url, **options) as response:
        response.raise_for_status()
        yield iter(httpx2.EventSource(response))


@pytest.fixture(params=[by_httpx_sse, by_httpx2], ids=["httpx-sse", "httpx2"])
def connect(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def events(connect: Any, server: Server) -> Callable[..., list[Event]]:
    def events(path: str = URL, method: str = "GET", **options: Any) -> list[Event]:
        with connect(method, server.url + path, **options) as source:
            return [(event.id, event.event, json.loads(event.data)) for event in source]

    return events


Events = Callable[..., list[Event]]


def test_text_is_exact(events: Events, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    read = events()
    assert text_of(read) == "".join(AWKWARD)
    assert [int(id.rpartition("-")[2]) for id, _, _ in read] == list(range(1, len(AWKWARD) + 4))


def test_text_beside_heartbeats(connect: Any, upstream: Upstream, serve: Callable[..., Server]) -> None:
    """`httpx-sse` makes an event without data of a comment, once an id was sent: look at `data` before you read it."""
    server = serve(upstream, heartbeat_s=0.1)
    gate = Gate()
    upstream.answer("one ", gate, "two")
    empty = 0
    text = ""
    with connect("GET", server.url + URL) as source:
        for event in source:
            empty += not event.data
            if event.event == "delta":
                text += json.loads(event.data)["text"]
            if empty or connect is by_httpx2:
                gate.open()
    assert text == "one two"
    assert bool(empty) == (connect is by_httpx_sse)


def test_text_of_a_post(events: Events, upstream: Upstream) -> None:
    upstream.answer("Hello")
    assert (
        text_of(events("/llm/chat", "POST", json={"prompt": "hi"}, headers={"Accept": "text/event-stream"})) == "Hello"
    )


def test_tools_come_in_fragments(events: Events, upstream: Upstream) -> None:
    upstream.answer(*TOOLS, finish_reason="tool_calls")
    assert called(events()) == CALLED


def test_reasoning_has_its_own_event(events: Events, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Yes.")
    read = events()
    assert "".join(data["text"] for _, kind, data in read if kind == "reasoning") == "Let me see."
    assert text_of(read) == "Yes."


def test_usage_has_tokens_and_cost(events: Events, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=USAGE)
    assert of_kind(events(), "usage") == USED


def test_error_in_the_middle_is_an_event(events: Events, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    read = events()
    assert (text_of(read), of_kind(read, "failure")["code"]) == ("Hel", "upstream_cut")


def test_error_before_the_first_event_of_a_post_is_a_status(events: Events, upstream: Upstream) -> None:
    upstream.answer(status=401)
    with pytest.raises((httpx.HTTPStatusError, httpx2.HTTPStatusError), match="502"):
        events("/llm/chat", "POST", json={"prompt": "hi"}, headers={"Accept": "text/event-stream"})


def test_stop_by_another_request(connect: Any, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hello", Stall())
    with connect("GET", server.url + URL) as source:
        stream_id = json.loads(next(source).data)["id"]
        assert json.loads(next(source).data)["text"] == "Hello"
        httpx2.delete(f"{server.url}/llm/streams/{stream_id}", timeout=PATIENCE_S).raise_for_status()
        *_, last = source
    assert json.loads(last.data)["status"] == "cancelled"


def test_resume_after_the_last_event(connect: Any, events: Events, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    with connect("GET", server.url + URL) as source:
        before = [next(source), next(source)]
    gate.open()
    after = events(headers={"Last-Event-ID": before[-1].id})
    assert text_of(after) == "two"
    assert [int(id.rpartition("-")[2]) for id, _, _ in after] == [3, 4, 5]


def test_tool_results_are_events(events: Callable[..., list[Event]]) -> None:
    assert of_kind(events("/agent"), "tool_result") == RESULT


def test_steps_are_events(events: Callable[..., list[Event]]) -> None:
    assert of_kind(events("/agent"), "step") == STEP


def test_sources_are_events(events: Callable[..., list[Event]]) -> None:
    assert of_kind(events("/agent"), "source") == SOURCE


def test_data_is_an_event(events: Callable[..., list[Event]]) -> None:
    assert of_kind(events("/agent"), "data") == DATA


def test_responses_have_a_name_for_each_event(connect: Any, server: Server, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    with connect("POST", f"{server.url}/llm/v1/responses", json={"input": "hi", "stream": True}) as source:
        events = [(event.event, json.loads(event.data)) for event in source]
    assert all(name == data["type"] for name, data in events)
    assert "".join(data.get("delta", "") for _, data in events) == "".join(AWKWARD)
    id = events[0][1]["response"]["id"]
    with connect("GET", f"{server.url}/llm/v1/responses/{id}?stream=true&starting_after=5") as source:
        assert [json.loads(event.data) for event in source] == [data for _, data in events[6:]]


def test_offset_is_in_the_control_events(connect: Any, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    url = server.url + server.post("/llm/streams").json()["url"]
    seen: list[dict[str, Any]] = []
    with connect("GET", f"{url}?offset=-1&live=sse") as source:
        for event in source:
            data = json.loads(event.data)
            if event.event == "data":
                seen += data
            elif seen[-1:] and seen[-1]["type"] == "delta":
                offset = data["streamNextOffset"]
                break
    gate.open()
    with connect("GET", f"{url}?offset={offset}&live=sse") as source:
        seen += [message for event in source if event.event == "data" for message in json.loads(event.data)]
    assert "".join(message.get("text", "") for message in seen) == "one two"
    assert [message["sequence_number"] for message in seen] == list(range(1, len(seen) + 1))
