"""What a log promises, wherever it is kept: a stream is the same for all readers, at whatever worker they ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .here import LOGS
from .here import Pair
from .here import sharing

GRACE_S = 0.8


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    price = {"input": "14", "output": "58", "currency": "INR"}
    settings: dict[str, Any] = {
        "disconnect_grace_s": GRACE_S,
        "retry_after_content": True,
        "prices": {"scripted": price},
    }
    with sharing(request.param, **settings) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


def body_of(response: httpx2.Response | str) -> str:
    """Without the line that says when to come back: in a shared log it differs."""
    text = response.text if isinstance(response, httpx2.Response) else response.partition("\r\n\r\n")[2]
    return re.sub(r"\Aretry: 1\d{3}\n", "", text)


# Reading


def test_readers_at_all_workers_get_the_same_bytes(pair: Pair) -> None:
    gate = Gate()
    _, url = pair.start("one ", gate, "two")
    readers = [Connection.get(here.port, url) for here in (pair.a, pair.b)]
    for reader in readers:
        reader.read_until("one ")
    gate.open()
    first, second = (body_of(reader.read_to_end()) for reader in readers)
    assert '"status":"completed"' in first
    assert first == second == body_of(pair.a.get(url)) == body_of(pair.b.get(url))
    assert len(pair.upstream.requests) == 1


@pytest.mark.parametrize("form", ["?format=text", "json"])
def test_other_forms_are_the_same_everywhere_too(pair: Pair, form: str) -> None:
    headers = {"Accept": "application/json"} if form == "json" else {}
    query = form if form != "json" else ""
    gate = Gate()
    _, url = pair.start("one\n", gate, "two")
    gate.open()
    path = f"{url}{query}"
    eventually(lambda: "two" in pair.a.get(path, **headers).text)
    pair.a.events(url)
    assert body_of(pair.a.get(path, **headers)) == body_of(pair.b.get(path, **headers))


def test_reader_may_come_in_anywhere_after_any_number(pair: Pair) -> None:
    stream_id, url = pair.start("one ", "two ", "three")
    whole = pair.a.events(url)
    for after in range(len(whole)):
        last = {"Last-Event-ID": f"{stream_id}-{after}"}
        assert pair.b.events(f"{url}?after={after}") == whole[after:]
        assert pair.b.events(url, **last) == whole[after:]
        assert pair.b.events("/llm/chat?prompt=hi", **last) == whole[after:]
    last = {"Last-Event-ID": f"{stream_id}-{len(whole)}"}
    for path, headers in ((f"{url}?after={len(whole)}", {}), (url, last), ("/llm/chat?prompt=hi", last)):
        assert pair.b.get(path, **headers).status_code == 204
    assert len(pair.upstream.requests) == 1


def test_reader_that_changes_its_worker_three_times_gets_every_event_once(pair: Pair) -> None:
    gates = [Gate(), Gate(), Gate()]
    _, url = pair.start("one ", gates[0], "two ", gates[1], "three ", gates[2], "four")
    seen: list[Any] = []
    headers: list[str] = []
    for here, gate, word in zip((pair.b, pair.a, pair.b), gates, ("one ", "two ", "three "), strict=True):
        reading = Connection.get(here.port, url, *headers)
        seen += read_events(body_of(reading.read_until(word + '"}\n\n')).encode())
        reading.close()
        headers = [f"Last-Event-ID: {seen[-1][0]}"]
        gate.open()
    seen += pair.a.events(url, **{"Last-Event-ID": seen[-1][0]})
    assert text_of(seen) == "one two three four"
    assert [int(id.rpartition("-")[2]) for id, _, _ in seen] == list(range(1, len(seen) + 1))
    assert kinds_of(seen) == ["start", "delta", "usage", "done"]


def test_reader_ahead_of_the_store_misses_nothing_elsewhere(pair: Pair) -> None:
    gates = [Gate() for _ in range(20)]
    _, url = pair.start(*(step for n, gate in enumerate(gates) for step in (f"{n} ", gate)))
    last = 0
    for n, gate in enumerate(gates):  # at once: the events are not in the store yet
        near = Connection.get(pair.a.port, f"{url}?after={last}")
        seen = read_events(body_of(near.read_until(f'"{n} "}}\n\n')).encode())
        last = int(seen[-1][0].rpartition("-")[2])
        far = Connection.get(pair.b.port, f"{url}?after={last}")
        gate.open()
        event_id, _, data = read_events(body_of(far.read_until("\n\n")).encode())[0]
        assert int(event_id.rpartition("-")[2]) == last + 1
        if n + 1 < len(gates):
            assert data == {"text": f"{n + 1} "}


def test_snapshot_has_the_newest_text_everywhere(pair: Pair) -> None:
    gates = [Gate(), Gate()]
    _, url = pair.start("one ", gates[0], "two", gates[1])
    json = {"Accept": "application/json"}
    assert gates[0].reached.wait(PATIENCE_S)
    gates[0].open()
    eventually(lambda: pair.a.get(url, **json).json()["text"] == "one two")
    answer = pair.b.get(url, **json).json()
    assert (answer["status"], answer["text"]) == ("running", "one two")
    gates[1].open()
    pair.b.events(url)
    assert pair.b.get(url, **json).json() == pair.a.get(url, **json).json()


def test_streams_of_all_workers_are_read_in_one_response(pair: Pair) -> None:
    gates = [Gate(), Gate()]
    pair.upstream.answer("one ", gates[0], "ONE")
    pair.upstream.answer("two ", gates[1], "TWO")
    ids = []
    for here, gate in zip((pair.a, pair.b), gates, strict=True):
        ids.append(here.post("/llm/streams").json()["id"])
        assert gate.reached.wait(PATIENCE_S)
    reading = Connection.get(pair.b.port, "/llm/streams?" + "&".join(f"after={id}-0" for id in ids))
    reading.read_until("one ")
    reading.read_until("two ")
    gates[0].open()
    assert "TWO" not in reading.read_until("ONE")
    gates[1].open()
    events = read_events(body_of(reading.read_to_end()).encode())
    for stream_id, text in zip(ids, ("one ONE", "two TWO"), strict=True):
        own = [event for event in events if event[0].startswith(stream_id)]
        assert [event[0] for event in own] == [f"{stream_id}-{n}" for n in range(1, len(own) + 1)]
        assert text_of(own) == text


CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": ""}}


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta}]}


SCRIPTS: dict[str, list[list[Any]]] = {
    "delta": [["Ünïcödé ", "👩‍👩‍👧 \u2028\x00\x7f", '"\\\n\r\n\t', "\U0010ffff"]],
    "reasoning": [[chunk(reasoning_content="Hm… "), chunk(reasoning_content="é"), "So"]],
    "refusal": [[chunk(refusal="No.")]],
    "tool_call": [
        [
            chunk(tool_calls=[{"index": 0, **CALL}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": '{"wo'}}]),
            chunk(tool_calls=[{"index": 0, "function": {"arguments": 'rd": "é"}'}}]),
        ]
    ],
    "reset": [["Hel", Cut()], ["Hello"]],
    "failure": [["Hel", Cut()], ["Hello", Cut()]],
}


@pytest.mark.parametrize("kind", SCRIPTS)
def test_every_kind_of_event_is_the_same_everywhere(pair: Pair, kind: str) -> None:
    for steps in SCRIPTS[kind]:
        pair.upstream.answer(*steps)
    url = pair.a.post("/llm/streams").json()["url"]
    events = pair.a.events(url)
    assert kind in kinds_of(events)
    assert of_kind(events, "usage")["currency"] == "INR"
    assert body_of(pair.b.get(url)) == body_of(pair.a.get(url))


def test_readers_of_a_shared_log_come_back_over_a_second(pair: Pair) -> None:
    _, url = pair.start("Hello")
    lines = [pair.b.get(url).text.partition("\n")[0] for _ in range(20)]
    waits = {int(line.removeprefix("retry: ")) for line in lines}
    assert all(1000 <= wait < 2000 for wait in waits)
    assert (len(waits) == 1) == (pair.a is pair.b), "the readers of one worker alone need no spreading"


# Stopping


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_stop_at_any_worker_closes_the_upstream_within_a_second(pair: Pair, method: str) -> None:
    stream_id, url = pair.start("Hello", Stall())
    reading = Connection.get(pair.a.port, url)
    reading.read_until("Hello")
    path = url if method == "DELETE" else f"{url}/cancel"
    assert pair.b.request(method, path).status_code == 204
    assert pair.upstream.request(0).left.wait(1)
    assert '"status":"cancelled"' in reading.read_to_end()
    assert pair.b.events(url)[-1][2] == {"status": "cancelled"}
    assert pair.b.request(method, path).status_code == 204
    assert eventually(lambda: pair.record(stream_id)).status == "cancelled"


def test_stop_before_the_first_token_is_heard_too(pair: Pair) -> None:
    _, url = pair.start(Stall(before_headers=True))
    asked = pair.upstream.request(0)
    assert pair.b.request("DELETE", url).status_code == 204
    assert asked.left.wait(SOON_S)
    assert kinds_of(pair.b.events(url)) == ["start", "usage", "done"]


# The grace


def test_reader_at_another_worker_keeps_a_stream_alive_until_it_leaves(pair: Pair) -> None:
    stream_id, url = pair.start("Hello", Stall())
    reading = Connection.get(pair.b.port, url)
    reading.read_until("Hello")
    assert not pair.upstream.request(0).left.wait(3 * GRACE_S)
    reading.close()
    assert pair.upstream.request(0).left.wait(SOON_S)
    assert eventually(lambda: pair.record(stream_id)).status == "abandoned"
    assert pair.b.events(url)[-1][2] == {"status": "abandoned"}


def test_snapshots_at_another_worker_count_as_reading(pair: Pair) -> None:
    _, url = pair.start("Hello", Stall())
    asked = pair.upstream.request(0)
    for _ in range(5):  # each pause is within the grace, all of them together are not
        assert pair.b.get(url, Accept="application/json").json()["status"] == "running"
        assert not asked.left.wait(0.6 * GRACE_S)
    assert asked.left.wait(SOON_S)
