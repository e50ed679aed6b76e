"""The engine is away, in every way: what runs goes on, nothing new is bought, and all comes back by itself."""

from __future__ import annotations

import signal
from collections.abc import Callable
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import httpx2
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Script
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import GUNICORN
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import text_of
from .here import Here
from .here import Pair
from .here import working
from .stores import PROGRAMS
from .stores import SlowProxy
from .stores import StoreServer

REFUSED_WITHIN_S = 2.0
LEASE_S = 6.0


class Place(NamedTuple):
    """An engine, and the way to it."""

    store: StoreServer
    way: SlowProxy


def slow_down(place: Place) -> None:
    place.way.delay_s = 0.5


def speed_up(place: Place) -> None:
    place.way.delay_s = 0.0


TROUBLES: dict[str, tuple[Callable[[Place], None], Callable[[Place], None]]] = {
    "refused": (lambda place: place.store.kill(), lambda place: place.store.start()),
    "frozen": (lambda place: place.store.freeze(), lambda place: place.store.thaw()),
    "slow": (slow_down, speed_up),
    "out of memory": (lambda place: place.store.fill(), lambda place: place.store.empty()),
    "read-only": (lambda place: place.store.demote(), lambda place: place.store.promote()),
}


@pytest.fixture(params=PROGRAMS)
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    with StoreServer(request.param) as store, SlowProxy(store.port) as way:
        yield Place(store, way)


@pytest.fixture
def pair(place: Place) -> Iterator[Pair]:
    with (
        Upstream(lambda request: Script(("Hello",))) as upstream,
        working(upstream, place.store.url(place.way.port)) as pair,
    ):
        yield pair


def asks(here: Here) -> Iterator[httpx2.Response]:
    """Everything that would buy an answer."""
    message = {"id": "1", "role": "user", "content": "hi"}
    ui = {"id": "c", "messages": [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]}
    agui = {"threadId": "t", "runId": "r", "messages": [message], "state": {}, "tools": [], "context": []}
    openai = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    patient = {"timeout": REFUSED_WITHIN_S}
    yield here.request("POST", "/llm/chat", json={"prompt": "hi", "key": "k"}, **patient)
    yield here.request("POST", "/llm/streams", json={"prompt": "hi"}, **patient)
    yield here.request("GET", "/llm/chat?prompt=hi&key=k", **patient)
    yield here.request("POST", "/llm/ui/chat", json=ui, **patient)
    yield here.request("POST", "/llm/agui", json=agui | {"forwardedProps": {}}, **patient)
    yield here.request("POST", "/llm/v1/chat/completions", json=openai, **patient)


def answers(here: Here) -> bool:
    return here.post(prompt="hi", key="k").status_code == 200


def lines(caplog: pytest.LogCaptureFixture, text: str) -> int:
    return sum(text in record.getMessage() for record in caplog.records if record.name == "llm_stream")


def body_of(reading: Connection) -> bytes:
    return reading.read_to_end().partition("\r\n\r\n")[2].encode()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_engine_that_is_away(pair: Pair, place: Place, trouble: str, caplog: pytest.LogCaptureFixture) -> None:
    begin, end = TROUBLES[trouble]
    a, b = pair.a, pair.b
    gate = Gate()
    stream_id, url = pair.start("one ", gate, "two ", "three")
    own, elsewhere = Connection.get(a.port, url), Connection.get(b.port, url)
    for reader in (own, elsewhere):
        reader.read_until("one ")

    begin(place)
    for here in (a, b):
        for refused in asks(here):
            assert refused.status_code == 503, refused.text
            assert int(refused.headers["Retry-After"]) > 0
    assert b.post().json()["error"]["code"] == "log_unavailable"
    assert len(pair.upstream.requests) == 1, "nothing is bought that cannot be shared"

    gate.open()
    events = read_events(body_of(own))
    assert text_of(events) == "one two three"
    assert events[-1][2]["status"] == "completed"
    assert eventually(lambda: pair.record(stream_id)).source == "provider"
    assert a.events(url) == events

    end(place)
    for here in (a, b):
        eventually(partial(answers, here), "the end of the trouble")
    assert len(pair.upstream.requests) == 2, "the key that was refused was free, and is bought once"
    assert read_events(body_of(elsewhere)) == events
    assert b.events(url) == events
    assert pair.record(stream_id)
    for text in ("is unavailable: ", "is available again"):
        assert lines(caplog, text) == 2, "each worker says it once"


@pytest.mark.parametrize(("place", "trouble"), [("Valkey 9", "frozen"), ("Redis 7", "refused")], indirect=["place"])
def test_engine_that_is_away_for_longer_than_a_lease(pair: Pair, place: Place, trouble: str) -> None:
    begin, end = TROUBLES[trouble]
    gates = [Gate(), Gate()]
    stream_id, url = pair.start("one ", gates[0], "two ", gates[1], "three")
    elsewhere = Connection.get(pair.b.port, url)
    elsewhere.read_until("one ")
    begin(place)
    gates[0].open()
    assert not pair.upstream.request(0).left.wait(LEASE_S + 1)
    end(place)
    elsewhere.read_until("two ")
    assert not pair.upstream.request(0).left.wait(LEASE_S / 2), "the workers were not dead"
    gates[1].open()
    events = read_events(body_of(elsewhere))
    assert events == pair.a.events(url)
    assert (text_of(events), events[-1][2]["status"]) == ("one two three", "completed")
    assert pair.record(stream_id)


def test_what_needs_the_engine_says_so_and_the_rest_does_not(pair: Pair, place: Place) -> None:
    _, url = pair.start("one ", Stall())
    _, other = pair.start("one ", Stall())
    for path in (url, other):
        Connection.get(pair.a.port, path).read_until("one ")
    place.store.kill()
    for path in (url, f"{url}?after=1"):
        assert pair.b.get(path).status_code == 503
    assert pair.b.request("DELETE", url).status_code == 503, "a stop that did not arrive is not acknowledged"
    assert not pair.upstream.request(0).left.is_set()
    assert pair.a.get(url, Accept="application/json").json()["text"] == "one "
    assert pair.a.request("DELETE", url).status_code == 204
    assert pair.upstream.request(0).left.wait(SOON_S)
    assert pair.a.request("DELETE", other).status_code == 204


def test_engine_that_comes_back_with_everything(pair: Pair, place: Place) -> None:
    gate = Gate()
    before = pair.a.post("/llm/streams", prompt="hi", key="before").json()
    whole = pair.a.events(before["url"])
    assert pair.b.events(before["url"]) == whole
    stream_id, url = pair.start("one ", gate, "two")
    elsewhere = Connection.get(pair.b.port, url)
    elsewhere.read_until("one ")
    place.store.kill()
    place.store.start()
    gate.open()
    events = read_events(body_of(elsewhere))
    assert text_of(events) == "one two"
    eventually(lambda: pair.b.get(before["url"]).status_code == 200)
    assert pair.b.events(before["url"]) == whole
    assert read_events(pair.b.post(prompt="hi", key="before").content) == whole
    assert len(pair.upstream.requests) == 2
    assert pair.record(stream_id)


def test_engine_that_comes_back_empty_gets_what_runs(
    pair: Pair, place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = pair.a, pair.b
    before = a.post("/llm/streams").json()
    a.events(before["url"])
    gates = [Gate(), Gate()]
    pair.upstream.answer("one ", gates[0], "two ", gates[1], "three")
    started = a.post("/llm/streams", prompt="hi", key="k").json()
    url = started["url"]
    elsewhere = Connection.get(b.port, url)
    elsewhere.read_until("one ")
    place.store.lose_everything()
    place.store.start()
    gates[0].open()
    elsewhere.read_until("two ")
    eventually(lambda: b.get(url, Accept="application/json").status_code == 200, "the stream in the new store")
    eventually(lambda: lines(caplog, "has come back empty") == 2, "the line of each worker")
    late = Connection.get(b.port, "/llm/chat?prompt=hi&key=k")
    late.read_until("two ")
    gates[1].open()
    events = read_events(body_of(elsewhere))
    assert (text_of(events), events[-1][2]["status"]) == ("one two three", "completed")
    assert b.events(url) == a.events(url) == read_events(body_of(late)) == events
    assert len(pair.upstream.requests) == 2
    assert pair.record(started["id"])
    eventually(lambda: b.get(before["url"]).status_code == 200, "what had ended, and is kept where it was written")
    assert b.events(before["url"]) == a.events(before["url"])


@pytest.mark.parametrize("place", ["Valkey 9"], indirect=True)
def test_engine_that_comes_back_empty_gets_the_keys_of_answers_that_are_gone(place: Place, upstream: Upstream) -> None:
    url = place.store.url()
    with working(upstream, url, retention_s=0) as pair:
        pair.upstream.answer("Hello")
        question = {"prompt": "hi", "key": "k"}
        stream = pair.a.post("/llm/streams", **question).json()
        eventually(lambda: pair.a.get(stream["url"]).status_code == 410, "the end of the text")
        place.store.lose_everything()
        place.store.start()
        database = int(url.rpartition("/")[2])
        eventually(lambda: place.store.ask("KEYS", "*:key:*", database=database), "the key")
        assert pair.b.post("/llm/streams", **question).status_code == 410
        assert len(pair.upstream.requests) == 1


@pytest.mark.parametrize("place", ["Valkey 9"], indirect=True)
def test_deploy_does_not_wait_for_an_engine_that_is_away(
    serve: Callable[..., Server], upstream: Upstream, place: Place
) -> None:
    server = serve(upstream, command=[*GUNICORN, "--graceful-timeout", "3"], log_url=place.store.url())
    upstream.answer("Hello", Stall())
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close")
    reading.read_until("Hello")
    place.store.freeze()
    server.process.send_signal(signal.SIGTERM)
    assert '{"status":"interrupted"}' in reading.read_to_end()
    assert server.process.wait(SOON_S) == 0
    (record,) = server.records()
    assert record["status"] == "interrupted"
