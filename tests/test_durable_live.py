"""Readers that wait for a stream's next messages, by long poll and by SSE, as Durable Streams has it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.wire import durable

from .conftest import SOON_S
from .conftest import Connection
from .conftest import eventually
from .durable_reading import is_closed
from .durable_reading import next_offset
from .durable_reading import readers
from .durable_reading import said
from .durable_reading import sse_events
from .durable_reading import text_of
from .durable_reading import whole
from .here import LOGS
from .here import Pair
from .here import sharing

GRACE_S = 0.8
HEARTBEAT_S = 1


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param, disconnect_grace_s=GRACE_S, heartbeat_s=HEARTBEAT_S) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


# Long poll (5.7)


def test_long_poll_gets_at_once_what_is_there(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    response = pair.b.get(f"{url}?offset=-1&live=long-poll")
    assert text_of(response.json()) == "one "
    assert response.headers["Stream-Up-To-Date"] == "true"
    assert int(response.headers["Stream-Cursor"]) >= durable.next_cursor(None) - 1
    gate.open()


@pytest.mark.parametrize("from_now", [True, False])
def test_long_poll_waits_for_the_next_message(pair: Pair, from_now: bool) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two", Stall())
    eventually(lambda: said(pair, url))
    offset = next_offset(pair.b.get(f"{url}?offset=-1"))
    waiting = Connection.get(pair.b.port, f"{url}?offset={'now' if from_now else offset}&live=long-poll")
    eventually(lambda: readers(pair, url))
    gate.open()
    head, _, body = waiting.read_to_end().partition("\r\n\r\n")
    assert head.startswith("HTTP/1.0 200")
    assert text_of(json.loads(body)) == "two"
    assert ("ETag" in head) == (not from_now)
    pair.a.request("DELETE", url)


def test_long_poll_without_news_is_204_after_a_heartbeats_time(pair: Pair) -> None:
    _, url = pair.start("one ", Stall())
    offset = next_offset(eventually(lambda: said(pair, url)))
    for asked in (offset, "now"):
        response = pair.b.get(f"{url}?offset={asked}&live=long-poll&cursor=99999999")
        assert (response.status_code, response.text) == (204, "")
        assert next_offset(response) == offset
        assert response.headers["Stream-Up-To-Date"] == "true"
        assert int(response.headers["Stream-Cursor"]) > 99999999
        assert not is_closed(response)
    pair.a.request("DELETE", url)


def test_long_poll_at_the_end_of_a_closed_stream_waits_for_nothing(pair: Pair) -> None:
    _, url = pair.start("Hello")
    end = next_offset(whole(pair, url))
    for asked in (end, "now"):
        response = pair.b.get(f"{url}?offset={asked}&live=long-poll")
        assert (response.status_code, next_offset(response), is_closed(response)) == (204, end, True)
        assert response.headers["Stream-Up-To-Date"] == "true"
        assert "Stream-Cursor" not in response.headers


def test_long_polls_one_after_the_other_get_every_message_once(pair: Pair) -> None:
    gates = [Gate() for _ in range(5)]
    _, url = pair.start(*(step for n, gate in enumerate(gates) for step in (f"{n} ", gate)))
    seen: list[dict[str, Any]] = []
    offset, closed = "-1", False
    waiting = iter(gates)
    while not closed:
        response = (pair.b if len(seen) % 2 else pair.a).get(f"{url}?offset={offset}&live=long-poll")
        seen += response.json() if response.status_code == 200 else []
        offset, closed = next_offset(response), is_closed(response)
        if gate := next(waiting, None):
            gate.open()
    assert seen == whole(pair, url).json()


# Event stream (5.8)


def test_event_stream_has_every_message_once_and_ends(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    reading = Connection.get(pair.b.port, f"{url}?offset=-1&live=sse")
    reading.read_until('"upToDate":true')
    gate.open()
    response = reading.read_to_end()
    assert "\r\nContent-Type: text/event-stream\r\n" in response
    events = sse_events(response)
    assert [kind for kind, _ in events] == ["data", "control"] * (len(events) // 2)
    messages = [message for kind, data in events if kind == "data" for message in data]
    assert messages == whole(pair, url).json()
    controls = [data for kind, data in events if kind == "control"]
    offsets = [control["streamNextOffset"] for control in controls]
    assert offsets == sorted(set(offsets))
    assert all(control["streamCursor"].isdecimal() for control in controls[:-1])
    assert controls[-1] == {"streamNextOffset": next_offset(whole(pair, url)), "upToDate": True, "streamClosed": True}
    for number, control in enumerate(controls[:-1]):
        rest = pair.b.get(f"{url}?offset={control['streamNextOffset']}&live=sse").text
        told = [m for kind, data in sse_events(f"\r\n\r\n{rest}") if kind == "data" for m in data]
        assert told == messages[int(offsets[number]) :]


def test_event_stream_from_the_tail_begins_with_its_place(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    tail = next_offset(eventually(lambda: said(pair, url)))
    for asked in (tail, "now"):
        reading = Connection.get(pair.b.port, f"{url}?offset={asked}&live=sse&cursor=99999999")
        kind, control = sse_events(reading.read_until("\n\n"))[0]
        assert (kind, control["streamNextOffset"], control["upToDate"]) == ("control", tail, True)
        assert int(control["streamCursor"]) > 99999999
    gate.open()
    messages = [m for kind, data in sse_events(reading.read_to_end()) if kind == "data" for m in data]
    assert text_of(messages) == "two"


def test_event_stream_of_a_closed_stream_says_so_at_once(pair: Pair) -> None:
    _, url = pair.start("Hello")
    end = next_offset(whole(pair, url))
    for asked in (end, "now"):
        text = pair.b.get(f"{url}?offset={asked}&live=sse").text
        assert sse_events(f"\r\n\r\n{text}") == [
            ("control", {"streamNextOffset": end, "upToDate": True, "streamClosed": True})
        ]


def test_silent_event_stream_has_heartbeats(pair: Pair) -> None:
    _, url = pair.start("Hello", Stall())
    Connection.get(pair.b.port, f"{url}?offset=-1&live=sse").read_until("\n\n: ping\n\n")
    pair.a.request("DELETE", url)


# Readers count


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_live_reader_keeps_a_stream_alive_until_it_leaves(pair: Pair, live: str) -> None:
    _, url = pair.start("Hello", Stall())
    asked = pair.upstream.request(0)
    offset = next_offset(eventually(lambda: said(pair, url)))
    if live == "sse":
        reading = Connection.get(pair.b.port, f"{url}?offset={offset}&live=sse")
        reading.read_until("streamNextOffset")
        assert not asked.left.wait(3 * GRACE_S)
        reading.close()
    for _ in range(3 if live == "long-poll" else 0):  # all together take longer than the grace
        assert pair.b.get(f"{url}?offset={offset}&live=long-poll").status_code == 204
        assert not asked.left.is_set()
    assert asked.left.wait(SOON_S)
    assert whole(pair, url).json()[-1]["status"] == "abandoned"


def test_client_that_leaves_its_long_poll_is_no_reader_any_more(pair: Pair) -> None:
    _, url = pair.start("Hello", Stall())
    offset = next_offset(eventually(lambda: said(pair, url)))
    waiting = Connection.get(pair.b.port, f"{url}?offset={offset}&live=long-poll")
    eventually(lambda: readers(pair, url))
    waiting.close()
    assert pair.upstream.request(0).left.wait(SOON_S)
