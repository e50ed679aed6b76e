"""The log in the form of Durable Streams 1.0. Section numbers are those of its PROTOCOL.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest

from llm_stream.events import KINDS
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Opaque
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.wire import durable

from .conftest import Connection
from .conftest import eventually
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


def next_offset(response: httpx2.Response) -> str:
    assert response.status_code in (200, 204, 304), response.text
    return response.headers["Stream-Next-Offset"]


def is_closed(response: httpx2.Response) -> bool:
    return response.headers.get("Stream-Closed") == "true"


def whole(pair: Pair, url: str) -> httpx2.Response:
    """The stream from its beginning, once it is closed."""

    def closed() -> httpx2.Response | None:
        response = pair.a.get(f"{url}?offset=-1")
        return response if is_closed(response) else None

    response: httpx2.Response = eventually(closed)
    return response


def text_of(messages: list[dict[str, Any]]) -> str:
    return "".join(message["text"] for message in messages if message["type"] == "delta")


def sse_events(response: str) -> list[tuple[str, Any]]:
    """The event stream of a response, without heartbeats."""
    body = response.partition("\r\n\r\n")[2]
    return [(kind, json.loads(data)) for kind, data in re.findall(r"event: (\w+)\ndata:(.*)\n\n", body)]


# Messages


def test_message_is_the_event_with_its_type_and_its_number() -> None:
    events = [Start("s", "m", 7), Delta('é"\n\u2028'), Step(2), Opaque(), Done("completed", "stop")]
    assert json.loads(durable.messages([(1, events[:3]), (900_000_000, events[3:])])) == [
        {"type": "start", "sequence_number": 1, "id": "s", "model": "m", "created": 7},
        {"type": "delta", "sequence_number": 2, "text": 'é"\n\u2028'},
        {"type": "step", "sequence_number": 3, "number": 2},
        {"type": "opaque", "sequence_number": 900_000_000},
        {"type": "done", "sequence_number": 900_000_001, "status": "completed", "finish_reason": "stop"},
    ]


@pytest.mark.parametrize("kind", KINDS.values())
def test_no_event_has_fields_of_these_names(kind: Any) -> None:
    assert not {"type", "sequence_number"} & {field.name for field in msgspec.structs.fields(kind)}


def test_offsets_sort_as_text_and_are_no_sentinels() -> None:
    numbers = [0, 1, 9, 10, 99, 12_345, 899_999_999, 900_000_002]
    offsets = [durable.offset(number) for number in numbers]
    assert offsets == sorted(offsets)
    assert [durable.number_of(offset) for offset in offsets] == numbers
    assert len({len(offset) for offset in offsets}) == 1


@pytest.mark.parametrize("cursor", [None, "", "x", "-1", "1.5", "0", "9" * 400, "٣"])
def test_cursor_is_the_interval_where_the_client_has_none_that_is_newer(cursor: str | None) -> None:
    assert durable.next_cursor(cursor) == pytest.approx(durable.next_cursor(None), abs=1)


def test_cursor_is_above_what_the_client_has() -> None:
    cursor = durable.next_cursor(None)
    for _ in range(100):
        last, cursor = cursor, durable.next_cursor(str(cursor))
        assert last < cursor <= last + 180


# Catching up (5.6)


def test_closed_stream_is_an_array_of_all_messages(pair: Pair) -> None:
    stream_id, url = pair.start("one ", "two")
    response = whole(pair, url)
    messages = response.json()
    assert response.headers["Content-Type"] == "application/json"
    assert response.headers["Stream-Up-To-Date"] == "true"
    assert response.headers["x-llm-stream-id"] == stream_id
    assert [message["sequence_number"] for message in messages] == list(range(1, len(messages) + 1))
    assert (messages[0]["type"], messages[-1]["type"]) == ("start", "done")
    assert text_of(messages) == "one two"
    assert next_offset(response) == f"{len(messages):09}"
    assert pair.b.get(f"{url}?offset=-1").json() == messages


def test_any_offset_continues_after_it_at_any_worker(pair: Pair) -> None:
    _, url = pair.start("one ", "two ", "three")
    messages = whole(pair, url).json()
    for number in range(len(messages) + 1):
        response = pair.b.get(f"{url}?offset={number:09}")
        assert response.json() == messages[number:]
        assert is_closed(response)
    assert response.headers["Stream-Up-To-Date"] == "true", "the end of a closed stream is an empty array"


def test_open_stream_is_not_closed_and_its_offset_gives_the_rest(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    first = pair.b.get(f"{url}?offset=-1")
    assert text_of(first.json()) == "one "
    assert first.headers["Stream-Up-To-Date"] == "true"
    assert not is_closed(first)
    assert pair.b.get(f"{url}?offset={next_offset(first)}").json() == []
    gate.open()
    messages = whole(pair, url).json()
    rest = pair.b.get(f"{url}?offset={next_offset(first)}").json()
    assert text_of(rest) == "two"
    assert first.json() + rest == messages


def test_now_has_no_messages_and_the_place_of_the_next_one(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    now = pair.b.get(f"{url}?offset=now")
    assert now.text == "[]"
    assert now.headers["Stream-Up-To-Date"] == "true"
    assert now.headers["Cache-Control"] == "no-store"
    assert "ETag" not in now.headers
    assert not is_closed(now)
    gate.open()
    whole(pair, url)
    assert text_of(pair.b.get(f"{url}?offset={next_offset(now)}").json()) == "two"
    now = pair.b.get(f"{url}?offset=now")
    assert now.text == "[]"
    assert is_closed(now)


@pytest.mark.parametrize(
    "query",
    [
        *("offset=", "offset=0", "offset=1", "offset=-2", "offset=0000000001", "offset=00000000x", "offset=NOW"),
        *("offset=0,1", "offset=0%201", "offset=00000001%0A", "offset=..%2F000000001", "offset=%D9%A3" + "0" * 8),
        *("offset=-1&offset=-1", "offset=-1&live=", "offset=-1&live=websocket", "live=sse", "live=long-poll"),
    ],
)
def test_malformed_query_is_400(pair: Pair, query: str) -> None:
    _, url = pair.start("Hello")
    refused = pair.a.get(f"{url}?{query}")
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "invalid_request"
    assert refused.headers["Cache-Control"] == "no-store"
    assert refused.headers["X-Content-Type-Options"] == "nosniff"


def test_without_an_offset_the_route_answers_as_before(pair: Pair) -> None:
    _, url = pair.start("Hello")
    whole(pair, url)
    for query in ("", "?after=0", "?cursor=1", "?live=true"):
        response = pair.a.get(url + query)
        assert response.text.startswith("retry: ")
        assert "Stream-Next-Offset" not in response.headers
    assert pair.a.get(url, Accept="application/json").json()["text"] == "Hello"


@pytest.mark.parametrize("query", ["offset=-1", "offset=now", "offset=-1&live=sse", "offset=-1&live=long-poll"])
def test_only_the_owner_finds_a_stream(pair: Pair, query: str) -> None:
    _, url = pair.start("Hello")
    for method in ("GET", "HEAD"):
        for path, owner in ((url, "bob"), (f"{url}x", "ann")):
            refused = pair.b.request(method, f"{path}?{query}", headers={"X-Owner": owner})
            assert refused.status_code == 404
            assert refused.headers["X-Content-Type-Options"] == "nosniff"


# Caching (10.1)


def test_etag_saves_the_body_until_something_changes(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    first = pair.b.get(f"{url}?offset=-1")
    match = {"If-None-Match": first.headers["ETag"]}
    same = pair.b.get(f"{url}?offset=-1", **match)
    assert (same.status_code, same.text) == (304, "")
    assert same.headers["ETag"] == first.headers["ETag"]
    assert next_offset(same) == next_offset(first)
    gate.open()
    last = whole(pair, url)
    assert last.headers["ETag"] != first.headers["ETag"]
    assert last.headers["ETag"].endswith(':c"')
    assert pair.b.get(f"{url}?offset=-1", **match).status_code == 200
    for etag in (last.headers["ETag"], f'"other", W/{last.headers["ETag"]}'):
        assert pair.b.get(f"{url}?offset=-1", **{"If-None-Match": etag}).status_code == 304


def test_etags_of_different_offsets_differ(pair: Pair) -> None:
    _, url = pair.start("one ", "two")
    end = next_offset(whole(pair, url))
    offsets = ("-1", "000000000", "000000001", end)
    assert len({pair.a.get(f"{url}?offset={offset}").headers["ETag"] for offset in offsets}) == len(offsets)


def test_no_shared_cache_may_keep_anything(pair: Pair) -> None:
    _, url = pair.start("Hello")
    end = next_offset(whole(pair, url))
    for query in ("offset=-1", "offset=-1&live=long-poll", f"offset={end}"):
        assert pair.a.get(f"{url}?{query}").headers["Cache-Control"] == "private, no-cache"
    events = pair.a.get(f"{url}?offset=-1&live=sse")
    assert events.headers["Cache-Control"] == "private, no-cache, no-transform"
    for query in ("offset=now", f"offset={end}&live=long-poll", "offset=now&live=long-poll"):
        assert pair.a.get(f"{url}?{query}").headers["Cache-Control"] == "no-store"


# Metadata (5.5)


def test_head_tells_the_end_and_whether_it_is_one(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    eventually(lambda: said(pair, url))
    head = pair.b.request("HEAD", f"{url}?offset=-1")
    assert head.content == b""
    assert head.headers["Content-Type"] == "application/json"
    assert head.headers["Cache-Control"] == "no-store"
    assert next_offset(head) == next_offset(pair.b.get(f"{url}?offset=-1"))
    assert not is_closed(head)
    gate.open()
    end = next_offset(whole(pair, url))
    head = pair.b.request("HEAD", f"{url}?offset=000000001&live=sse")
    assert (next_offset(head), is_closed(head)) == (end, True)


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
    assert asked.left.wait(5 * GRACE_S)
    assert whole(pair, url).json()[-1]["status"] == "abandoned"


def test_client_that_leaves_its_long_poll_is_no_reader_any_more(pair: Pair) -> None:
    _, url = pair.start("Hello", Stall())
    offset = next_offset(eventually(lambda: said(pair, url)))
    waiting = Connection.get(pair.b.port, f"{url}?offset={offset}&live=long-poll")
    eventually(lambda: readers(pair, url))
    waiting.close()
    assert pair.upstream.request(0).left.wait(5 * GRACE_S)


def said(pair: Pair, url: str) -> httpx2.Response | None:
    """The stream so far, once the model has said something."""
    response = pair.b.get(f"{url}?offset=-1")
    return response if text_of(response.json()) else None


def readers(pair: Pair, url: str) -> int:
    """How many follow the stream at `b`."""
    with pair.b.app.app_context():
        return len(pair.b.llm.state.streams.find(None, url.rpartition("/")[2]).readers)
