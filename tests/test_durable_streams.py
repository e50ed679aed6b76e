"""The log in the form of Durable Streams 1.0. Section numbers are those of its PROTOCOL.md."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from llm_stream.events import KINDS
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Opaque
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.testing import Gate
from llm_stream.wire import durable

from .conftest import eventually
from .durable_reading import is_closed
from .durable_reading import next_offset
from .durable_reading import said
from .durable_reading import text_of
from .durable_reading import whole
from .here import LOGS
from .here import Pair
from .here import sharing


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param, heartbeat_s=1) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


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
