"""Several streams in one response: what a browser needs that opens six connections to a site, over all its tabs."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import text_of

Serve = Callable[..., Server]


@pytest.fixture(scope="module")
def model() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(model: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(model, tmp_path_factory.mktemp("server"), disconnect_grace_s=1, heartbeat_s=0.5)
    yield server
    server.process.kill()
    server.process.wait()


def start(server: Server) -> str:
    stream_id: str = server.post("/llm/streams").json()["id"]
    return stream_id


def together(*places: str) -> str:
    return "/llm/streams?" + "&".join(f"after={place}" for place in places)


def events_in(reading: Connection) -> list[Event]:
    """All of a response, whose pieces are events."""
    return read_events(reading.read_to_end().partition("\r\n\r\n")[2].replace("\r\n", "\n").encode())


def of_stream(events: list[Event], stream_id: str) -> list[Event]:
    return [event for event in events if event[0].startswith(stream_id)]


def test_events_of_several_streams_come_as_they_are_written(model: Upstream, server: Server) -> None:
    gates = [Gate(), Gate()]
    model.answer("one ", gates[0], "ONE")
    model.answer("two ", gates[1], "TWO")
    ids = [start(server), start(server)]
    assert all(gate.reached.wait(PATIENCE_S) for gate in gates)
    reading = Connection.get(server.port, together(*(f"{id}-0" for id in ids)), "Connection: close")
    reading.read_until("one ")
    reading.read_until("two ")
    gates[1].open()
    assert "ONE" not in reading.read_until("TWO")
    gates[0].open()
    events = events_in(reading)
    assert [text_of(of_stream(events, id)) for id in ids] in (["one ONE", "two TWO"], ["two TWO", "one ONE"])
    for id in ids:
        own = of_stream(events, id)
        assert [event[0] for event in own] == [f"{id}-{n}" for n in range(1, len(own) + 1)]
        assert kinds_of(own) == ["start", "delta", "usage", "done"]


def test_each_stream_goes_on_after_its_own_number(model: Upstream, server: Server) -> None:
    whole = []
    for text in ("one", "two"):
        model.answer(text)
        whole.append(server.events())
    ids = [events[0][2]["id"] for events in whole]
    events = read_events(server.get(together(f"{ids[0]}-1", f"{ids[1]}-3")).content)
    assert of_stream(events, ids[0]) == whole[0][1:]
    assert of_stream(events, ids[1]) == whole[1][3:]


def test_a_stream_without_events_is_told_by_the_status_of_its_own_route(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, max_retained_bytes=0)
    upstream.answer("one")
    expired = server.events()[0][2]["id"]
    gate = Gate()
    upstream.answer(gate, "two")
    running = start(server)
    path = together("0123-4", f"{expired}-1", f"{running}-1")
    reading = Connection.get(server.port, path, "Connection: close")
    reading.read_until("expired_stream")
    gate.open()
    events = events_in(reading)
    statuses = {data["id"]: data for _, kind, data in events if kind == "status"}
    assert {id: data["status"] for id, data in statuses.items()} == {"0123": 404, expired: 410}
    assert statuses["0123"]["error"]["code"] == "unknown_stream"
    assert text_of(of_stream(events, running)) == "two"


def test_what_was_delivered_to_its_end_is_204_there_too(model: Upstream, server: Server) -> None:
    model.answer("one")
    events = server.events()
    answered = read_events(server.get(together(events[-1][0])).content)
    assert answered == [("", "status", {"id": events[0][2]["id"], "status": 204})]


def test_places_are_checked(server: Server) -> None:
    for path in ("/llm/streams", together("abc-x"), together(*["abc-1"] * 101)):
        response = server.get(path)
        assert response.status_code == 422, path
        assert json.loads(response.content)["error"]["code"] == "invalid_field"


def test_who_leaves_the_response_leaves_all_its_streams(model: Upstream, server: Server) -> None:
    model.answer("one", Stall())
    model.answer("two", Stall())
    ids = [start(server), start(server)]
    reading = Connection.get(server.port, together(*(f"{id}-0" for id in ids)))
    reading.read_until("one")
    reading.read_until("two")
    reading.close()
    assert {server.record(id)["status"] for id in ids} == {"abandoned"}
    eventually(server.at_rest, "rest")


def test_silence_is_filled_with_heartbeats(model: Upstream, server: Server) -> None:
    model.answer("one", Stall())
    model.answer("two", Stall())
    ids = [start(server), start(server)]
    reading = Connection.get(server.port, together(*(f"{id}-0" for id in ids)))
    reading.read_until("two")
    reading.read_until(": ping\n\n")
