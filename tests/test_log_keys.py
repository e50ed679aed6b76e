"""Keys, limits, owners and positions: the answer is the same at every worker, wherever a log is kept."""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from uuid import uuid4

import httpx2
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import Connection
from .conftest import eventually
from .conftest import text_of
from .here import LOGS
from .here import Here
from .here import Pair
from .here import sharing
from .stores import PROGRAMS

MOST = 3
ROUNDS = 15


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param, max_streams_per_owner=MOST) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


@pytest.fixture(scope="module", params=LOGS)
def forgetful(request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Workers that keep nothing that has ended."""
    with sharing(request.param, retention_s=0) as pair:
        yield pair


def in_the_same_moment(*asks: Callable[[], httpx2.Response]) -> list[httpx2.Response]:
    answers: dict[int, httpx2.Response] = {}
    barrier = threading.Barrier(len(asks))

    def ask(number: int) -> None:
        barrier.wait()
        answers[number] = asks[number]()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [answers[number] for number in range(len(asks))]


def asked(here: Here, text: str, key: str) -> Callable[[], httpx2.Response]:
    return lambda: here.post("/llm/streams", prompt=text, key=key)


# Keys


def test_key_that_two_workers_are_asked_for_in_the_same_moment_is_bought_once(pair: Pair) -> None:
    pair.upstream.answer("Hello")
    for number in range(ROUNDS):
        ask = [asked(here, "hi", f"same-{number}") for here in (pair.a, pair.b) * 2]
        answers = in_the_same_moment(*ask)
        assert [answer.status_code for answer in answers] == [201] * 4, [answer.text for answer in answers]
        (url,) = {answer.json()["url"] for answer in answers}
        pair.b.get(url)
        assert len(pair.upstream.requests) == number + 1


def test_of_two_questions_with_one_key_in_the_same_moment_one_is_refused(pair: Pair) -> None:
    for number in range(ROUNDS):
        key = f"different-{number}"
        answers = in_the_same_moment(asked(pair.a, "one", key), asked(pair.b, "two", key))
        assert sorted(answer.status_code for answer in answers) == [201, 409], [answer.text for answer in answers]
        (started,) = (answer.json() for answer in answers if answer.status_code == 201)
        pair.b.get(started["url"])
        assert len(pair.upstream.requests) == number + 1


def test_key_is_good_for_one_request_at_every_worker(pair: Pair) -> None:
    key = str(uuid4())
    first = pair.a.post(prompt="hi", key=key)
    assert pair.b.post(prompt="hi", key=key).status_code == first.status_code == 200
    for refused in (pair.b.post(prompt="else", key=key), pair.b.get(f"/llm/chat?prompt=else&key={key}")):
        assert (refused.status_code, refused.json()["error"]["code"]) == (409, "key_conflict")
    assert len(pair.upstream.requests) == 1


# The owner's limit


def test_owners_limit_counts_over_all_workers(pair: Pair) -> None:
    owner = str(uuid4())
    gates = [Gate() for _ in range(MOST)]
    with pair.a.client_of(owner) as at_a, pair.b.client_of(owner) as at_b:
        for client, gate in zip((at_a, at_b, at_a), gates, strict=True):
            pair.upstream.answer("Hello", gate)
            assert client.post("/llm/streams", json={"prompt": "hi"}).status_code == 201
            assert gate.reached.wait(PATIENCE_S)
        for client in (at_a, at_b):
            refused = client.post("/llm/streams", json={"prompt": "hi"})
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_streams")
            assert int(refused.headers["Retry-After"]) > 0
        assert len(pair.upstream.requests) == MOST
        assert pair.b.post("/llm/streams").status_code == 201, "another owner has a limit of its own"
        gates[0].open()
        eventually(lambda: at_b.post("/llm/streams", json={"prompt": "hi"}).status_code == 201)
        for gate in gates:
            gate.open()


def test_refused_key_is_free_again(pair: Pair) -> None:
    owner = str(uuid4())
    with pair.a.client_of(owner) as at_a, pair.b.client_of(owner) as at_b:
        gates = [Gate() for _ in range(MOST)]
        for gate in gates:
            pair.upstream.answer("Hello", gate)
            at_a.post("/llm/streams", json={"prompt": "hi"})
            assert gate.reached.wait(PATIENCE_S)
        body = {"prompt": "hi", "key": "k"}
        assert at_b.post("/llm/streams", json=body).status_code == 429
        gates[0].open()
        eventually(lambda: at_a.post("/llm/streams", json=body).status_code == 201)
        for gate in gates:
            gate.open()
        assert at_b.post("/llm/chat", json=body).status_code == 200


# Owners


def test_somebody_elses_stream_does_not_exist_at_any_worker(pair: Pair) -> None:
    gate = Gate()
    pair.upstream.answer("Hello", gate)
    body = {"prompt": "hi", "key": str(uuid4())}
    started = pair.a.post("/llm/streams", **body).json()
    stream_id, url = started["id"], started["url"]
    pair.b.get(url, Accept="application/json")  # that worker has it now
    for here in (pair.a, pair.b):
        with here.client_of("bob") as bob:
            for method, path in (("GET", url), ("DELETE", url), ("POST", f"{url}/cancel")):
                assert bob.request(method, path).status_code == 404
            assert bob.get(url, headers={"Accept": "application/json"}).status_code == 404
            assert bob.get("/llm/chat?prompt=hi", headers={"Last-Event-ID": f"{stream_id}-1"}).status_code == 204
            ((_, kind, status),) = read_events(bob.get(f"/llm/streams?after={stream_id}-0").content)
            assert (kind, status["id"], status["status"]) == ("status", stream_id, 404)
            assert bob.post("/llm/streams", json=body).json()["id"] != stream_id
    gate.open()
    assert text_of(pair.b.events(url)) == "Hello"


# Positions

NOBODY = "0" * 20


@pytest.mark.parametrize("last", ["nonsense", f"{NOBODY}-3", "-", "5", "x-" + "9" * 5000, f"{NOBODY}-900000001"])
def test_unknown_or_malformed_event_id_is_204_and_buys_nothing(pair: Pair, last: str) -> None:
    headers = {"Last-Event-ID": last}
    for here in (pair.a, pair.b):
        assert here.get("/llm/chat?prompt=hi", **headers).status_code == 204
        assert here.request("POST", "/llm/chat", json={"prompt": "hi"}, headers=headers).status_code == 204
        assert here.get(f"/llm/streams/{NOBODY}", **headers).status_code == 404
    assert not pair.upstream.requests


def test_position_beyond_the_end_has_nothing_more(pair: Pair) -> None:
    stream_id, url = pair.start("Hello")
    pair.a.events(url)
    for here in (pair.a, pair.b):
        for number in (4, 5, 999, 900000002):
            last = {"Last-Event-ID": f"{stream_id}-{number}"}
            assert here.get(f"{url}?after={number}").status_code == 204
            assert here.get(url, **last).status_code == 204
            assert here.get("/llm/chat?prompt=hi", **last).status_code == 204
            ((_, _, status),) = read_events(here.get(f"/llm/streams?after={stream_id}-{number}").content)
            assert (status["id"], status["status"]) == (stream_id, 204)
        for wrong in ("x", "1.5", "9" * 40):
            assert here.get(f"{url}?after={wrong}").status_code == 422
            assert here.get(f"/llm/streams?after={stream_id}-{wrong}").status_code == 422
        assert here.get("/llm/streams").status_code == 422


def test_position_beyond_a_running_stream_counts_as_its_last(pair: Pair) -> None:
    gate = Gate()
    stream_id, url = pair.start("one ", gate, "two")
    near = Connection.get(pair.a.port, url)
    near.read_until("one ")
    last = f"Last-Event-ID: {stream_id}-999"
    paths = [(f"{url}?after=999", ()), (url, (last,)), ("/llm/chat?prompt=hi", (last,))]
    paths.append((f"/llm/streams?after={stream_id}-999", ()))
    readers = [Connection.get(here.port, path, *headers) for here in (pair.a, pair.b) for path, headers in paths]
    for reader in readers:
        reader.read_until("retry: ")
    gate.open()
    for reader in readers:
        events = read_events(reader.read_to_end().partition("\r\n\r\n")[2].encode())
        assert [event[0] for event in events] == [f"{stream_id}-{n}" for n in (3, 4, 5)]


# After the text is gone


def test_key_and_end_outlive_the_text(forgetful: Pair) -> None:
    pair, key = forgetful, str(uuid4())
    pair.upstream.requests.clear()
    pair.upstream.answer("Hello")
    events = pair.a.events(f"/llm/chat?prompt=hi&key={key}")
    stream_id = events[0][2]["id"]
    url = f"/llm/streams/{stream_id}"
    eventually(lambda: pair.b.get(url).status_code == 410)
    for here in (pair.a, pair.b):
        assert here.get(url).status_code == 410
        assert here.get(url, Accept="application/json").status_code == 410
        assert here.get(f"{url}?after=2").status_code == 410
        assert here.request("DELETE", url).status_code == 410
        ((_, _, status),) = read_events(here.get(f"/llm/streams?after={stream_id}-2").content)
        assert (status["id"], status["status"]) == (stream_id, 410)
        for number in (2, 4, 999):
            last = {"Last-Event-ID": f"{stream_id}-{number}"}
            assert here.get("/llm/chat?prompt=hi", **last).status_code == 204
        assert here.get(f"/llm/chat?prompt=hi&key={key}").status_code == 204
        assert here.post(prompt="hi", key=key).status_code == 410
        assert here.get(f"/llm/chat?prompt=else&key={key}").status_code == 409
        assert here.post(prompt="else", key=key).status_code == 409
        with here.client_of("bob") as bob:
            assert bob.get(url).status_code == 404, "not even that there was one"
    assert len(pair.upstream.requests) == 1


def test_reader_that_is_there_at_the_end_gets_all_of_it(forgetful: Pair) -> None:
    gate = Gate()
    _, url = forgetful.start("Hel", gate, "lo")
    readers = [Connection.get(here.port, url) for here in (forgetful.a, forgetful.b)]
    for reader in readers:
        reader.read_until("Hel")
    gate.open()
    for reader in readers:
        assert '{"status":"completed"' in reader.read_to_end()


@pytest.mark.parametrize("engine", PROGRAMS)
def test_what_a_worker_has_no_room_for_is_found_in_the_store(engine: str) -> None:
    with sharing(engine, max_retained_bytes=0) as pair:
        stream_id, url = pair.start("Hel", "lo")
        events = pair.a.events(url)
        eventually(lambda: pair.record(stream_id))
        assert text_of(events) == "Hello"
        for here in (pair.a, pair.b):
            assert here.events(url) == events
            assert here.events(f"{url}?after=2") == events[2:]


@pytest.mark.parametrize("log", LOGS)
def test_owner_may_be_any_string(log: str) -> None:
    with sharing(log) as pair:
        for here in (pair.a, pair.b):
            here.llm.authorize(lambda: "\ud800 ann\n")
        _, url = pair.start("Hello")
        assert text_of(pair.b.events(url)) == "Hello"
