"""One answer is bought once, and every event is delivered once, whatever becomes of the connections."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Server
from .conftest import dechunked
from .conftest import eventually
from .conftest import kinds_of
from .conftest import text_of

Serve = Callable[..., Server]


@pytest.fixture
def upstream(site: Server) -> Iterator[Upstream]:
    """The site's: most tests here share its server, as if it had just begun."""
    upstream = site.upstream
    assert upstream is not None
    site.clear()
    upstream.clear()
    yield upstream
    eventually(lambda: upstream.open == 0, "the end of every upstream request")


@pytest.fixture
def server(site: Server, upstream: Upstream) -> Server:
    return site


def last_id(text: str) -> str:
    """The id of the last event that is there as a whole."""
    events = read_events(text.rpartition("\n\n")[0].encode())
    return events[-1][0]


def test_reader_that_loses_its_connection_three_times_gets_every_event_once(upstream: Upstream, server: Server) -> None:
    gates = [Gate(), Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three ", gates[2], "four")
    seen: list[Any] = []
    headers: list[str] = []
    for gate in gates:
        reading = Connection.get(server.port, "/llm/chat?prompt=hi", *headers)
        assert gate.reached.wait(PATIENCE_S)
        text = reading.read_until(["one ", "two ", "three "][gates.index(gate)] + '"}\n\n')
        reading.close()
        body = text.partition("\r\n\r\n")[2]
        seen += read_events(body.encode().replace(b"\r\n", b"\n"))
        headers = [f"Last-Event-ID: {seen[-1][0]}"]
        gate.open()
    response = server.get("/llm/chat?prompt=hi", **{"Last-Event-ID": seen[-1][0]})
    seen += read_events(response.content)
    assert text_of(seen) == "one two three four"
    stream_id = seen[0][2]["id"]
    assert [event[0] for event in seen] == [f"{stream_id}-{n}" for n in range(1, len(seen) + 1)]
    assert kinds_of(seen) == ["start", "delta", "usage", "done"]
    assert len(upstream.requests) == 1
    assert len(server.records()) == 1


def test_finished_and_delivered_is_204_and_buys_nothing(upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello")
    events = server.events()
    for path in ("/llm/chat?prompt=hi", f"/llm/streams/{events[0][2]['id']}"):
        response = server.get(path, **{"Last-Event-ID": events[-1][0]})
        assert (response.status_code, response.content) == (204, b"")
    assert len(upstream.requests) == 1


def test_unknown_last_event_id_is_204_and_buys_nothing(upstream: Upstream, server: Server) -> None:
    assert server.post().status_code == 200
    for last in ("nonsense", "00000000000000000000-3", "ümlaut-1", "-", "5", "x-" + "9" * 5000):
        headers = {b"Last-Event-ID": last.encode()}
        assert server.request("GET", "/llm/chat?prompt=hi", headers=headers).status_code == 204
        again = server.request("POST", "/llm/chat", json={"prompt": "hi"}, headers=headers)
        assert again.status_code == 204, "a client that re-posts after a lost connection must not buy again either"
    assert len(upstream.requests) == 1


def test_lost_before_the_first_event_is_found_again_by_its_key(upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer(gate, "Hello")
    path = f"/llm/chat?prompt=hi&key={uuid4()}"
    first = Connection.get(server.port, path)
    assert gate.reached.wait(PATIENCE_S)
    first.close()
    second = Connection.get(server.port, path)
    second.read_until("event: start")
    gate.open()
    second.read_until("event: done")
    assert [text_of(server.events(path)) for _ in range(2)] == ["Hello", "Hello"]
    assert len(upstream.requests) == 1


def test_key_is_good_for_one_request_of_one_owner(upstream: Upstream, server: Server) -> None:
    upstream.answer("Hello")
    first = server.post(prompt="hi", key="k1")
    again = server.post(prompt="hi", key="k1")
    assert again.content == first.content
    started = server.post("/llm/streams", messages=[{"role": "user", "content": "hi"}], key="k1")
    assert started.json()["id"] == read_events(first.content)[0][2]["id"]
    other = server.post(prompt="something else", key="k1")
    assert (other.status_code, other.json()["error"]["code"]) == (409, "key_conflict")
    assert server.get("/llm/chat?prompt=something+else&key=k1").status_code == 409
    assert len(upstream.requests) == 1


def test_key_is_claimed_before_any_limit(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, max_streams_per_owner=1)
    gate = Gate()
    upstream.answer("Hello", gate)
    first = Connection.get(server.port, "/llm/chat?prompt=hi&key=k1")
    first.read_until("Hello")
    assert server.get("/llm/chat?prompt=hi").status_code == 429
    second = Connection.get(server.port, "/llm/chat?prompt=hi&key=k1")
    second.read_until("Hello")
    gate.open()
    second.read_until("event: done")
    assert len(upstream.requests) == 1


def test_expired_stream_is_gone_and_never_bought_again(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, retention_s=0)
    upstream.answer("Hello")
    events = server.events("/llm/chat?prompt=hi&key=k1")
    stream_id = events[0][2]["id"]
    assert server.get(f"/llm/streams/{stream_id}").status_code == 410
    assert server.get("/llm/chat?prompt=hi", **{"Last-Event-ID": events[1][0]}).status_code == 204
    assert server.get("/llm/chat?prompt=hi&key=k1").status_code == 204
    assert server.post(prompt="hi", key="k1").status_code == 410
    assert len(upstream.requests) == 1


def test_two_readers_share_one_stream(upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    started = server.post("/llm/streams", prompt="hi").json()
    readers = [Connection.get(server.port, started["url"], "Connection: close") for _ in range(2)]
    for reader in readers:
        reader.read_until("Hel")
    gate.open()
    first, second = (read_events(dechunked(reader.read_to_end()).encode()) for reader in readers)
    assert first[-1][1] == "done"
    assert first == second
    assert len(upstream.requests) == 1


def test_reader_may_come_in_anywhere(upstream: Upstream, server: Server) -> None:
    upstream.answer("one ", "two ", "three")
    started = server.post("/llm/streams", prompt="hi").json()
    whole = server.events(started["url"])
    for after in range(len(whole)):
        assert server.events(f"{started['url']}?after={after}") == whole[after:]
        by_header = server.get(started["url"], **{"Last-Event-ID": f"{started['id']}-{after}"})
        assert read_events(by_header.content) == whole[after:]
    assert server.get(f"{started['url']}?after={len(whole)}").status_code == 204
    assert server.get(f"{started['url']}?after=999").status_code == 204
    assert server.get(f"{started['url']}?after=-1").status_code == 422
    assert server.get(f"{started['url']}?after=x").status_code == 422


def test_resumed_connection_opens_at_once(upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer("Hello", gate)
    first = Connection.get(server.port, "/llm/chat?prompt=hi")
    first.read_until('Hello"}\n\n')
    first.close()
    second = Connection.get(server.port, "/llm/chat?prompt=hi", f"Last-Event-ID: {last_id(first.received.decode())}")
    assert second.read_until("retry: 1000\n")
    gate.open()
    assert "Hello" not in second.read_until("event: done")


def test_text_form_resumes_too(upstream: Upstream, server: Server) -> None:
    gate = Gate()
    upstream.answer("one\r", gate, "\ntwo")
    first = Connection.get(server.port, "/llm/chat?prompt=hi&format=text")
    assert gate.reached.wait(PATIENCE_S)
    text = first.read_until("data: one\ndata: \n\n")
    first.close()
    number = text.partition("\nid: ")[2].partition("\n")[0]
    gate.open()
    rest = server.get("/llm/chat?prompt=hi&format=text", **{"Last-Event-ID": number}).text
    assert [line for line in rest.split("\n") if line.startswith("data")] == ["data: two", "data: [DONE]"]
    assert len(upstream.requests) == 1


def test_view_of_ones_own_attaches_without_running_its_generator_again(upstream: Upstream, server: Server) -> None:
    events = server.events("/report?name=x")
    assert text_of(events) == "one\ntwo x"
    response = server.get("/report?name=x", **{"Last-Event-ID": events[1][0]})
    assert read_events(response.content) == events[2:]
    assert len(server.records()) == 1


def test_somebody_elses_stream_does_not_exist(upstream: Upstream, make_app: Any) -> None:
    from openai import OpenAI

    from llm_stream import LLMStream

    llm = LLMStream("llm", __name__, model="scripted", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    who = ["ann"]
    llm.authorize(lambda: who[0])
    client = make_app(llm).test_client()
    stream_id = client.post("/llm/streams", json={"prompt": "hi", "key": "k"}).json["id"]
    eventually(lambda: client.get(f"/llm/streams/{stream_id}", headers={"Accept": "application/json"}))
    who[0] = "bob"
    assert client.get(f"/llm/streams/{stream_id}").status_code == 404
    assert client.delete(f"/llm/streams/{stream_id}").status_code == 404
    assert client.get("/llm/chat?prompt=hi", headers={"Last-Event-ID": f"{stream_id}-1"}).status_code == 204
    assert client.post("/llm/streams", json={"prompt": "hi", "key": "k"}).json["id"] != stream_id
    who[0] = "ann"
    assert client.delete(f"/llm/streams/{stream_id}").status_code == 204
