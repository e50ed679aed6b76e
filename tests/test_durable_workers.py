"""Durable Streams from real workers: gunicorn with gevent, one of which is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import dechunked
from .conftest import eventually
from .databases import SQLite
from .durable_reading import sse_events
from .durable_reading import text_of
from .sharers import Sharers
from .sharers import kill_worker
from .sharers import reading
from .stores import StoreServer


def messages_in(connection: Connection) -> list[dict[str, Any]]:
    response = connection.read_to_end()
    if "chunked" in response:
        response = f"\r\n\r\n{dechunked(response)}"
    return [message for kind, data in sse_events(response) if kind == "data" for message in data]


def test_reader_of_a_killed_worker_goes_on_at_another_and_is_told_the_end(
    serve: Callable[..., Server], upstream: Upstream, tmp_path: Path
) -> None:
    with StoreServer() as store:
        sharers = Sharers(serve, upstream, store.url(), SQLite(tmp_path))
        a, b = sharers.start(), sharers.start(heartbeat_s=1)
        upstream.answer("Hello", Stall())
        url = a.post("/llm/streams", prompt="hi").json()["url"]
        following = reading(b, f"{url}?offset=-1&live=sse")
        following.read_until("Hello")
        (seen, offset) = eventually(lambda: so_far(a, url))
        kill_worker(a)

        polled = list(seen)
        while offset < "900000002":
            response = b.get(f"{url}?offset={offset}&live=long-poll")
            polled += response.json() if response.status_code == 200 else []
            offset = response.headers["Stream-Next-Offset"]
        assert response.headers["Stream-Closed"] == "true"
        numbers = [message["sequence_number"] for message in polled]
        assert numbers == [1, 2, 900_000_000, 900_000_001, 900_000_002]
        assert [message["type"] for message in polled[2:]] == ["failure", "usage", "done"]
        assert polled[2]["code"] == "worker_lost"
        assert messages_in(following) == polled

        for server in (a, b):  # the one that was killed runs again
            assert server.get(f"{url}?offset=-1").json() == polled
            assert server.get(f"{url}?offset=000000001").json() == polled[1:]
            ahead = server.get(f"{url}?offset=000000040")
            assert ahead.json() == polled[2:], "events that the store never got leave no gap in which the end is lost"
            end = server.get(f"{url}?offset=900000002")
            assert (end.json(), end.headers["Stream-Closed"]) == ([], "true")
            assert server.request("HEAD", f"{url}?offset=now").headers["Stream-Next-Offset"] == "900000002"


def so_far(server: Server, url: str) -> tuple[list[dict[str, Any]], str] | None:
    response = server.get(f"{url}?offset=-1")
    return (response.json(), response.headers["Stream-Next-Offset"]) if text_of(response.json()) else None


@pytest.mark.parametrize("fast_path", [True, False])
def test_event_stream_of_a_gevent_worker_has_every_message_once(
    serve: Callable[..., Server], upstream: Upstream, fast_path: bool
) -> None:
    server = serve(upstream, fast_path=fast_path)
    gates = [Gate() for _ in range(20)]
    upstream.answer(*(step for n, gate in enumerate(gates) for step in (f"{n} ", gate)))
    url = server.post("/llm/streams").json()["url"]
    readers = [reading(server, f"{url}?offset=-1&live=sse") for _ in range(3)]
    for n, gate in enumerate(gates):
        for reader in readers:
            reader.read_until(f'"text":"{n} "')
        gate.open()
    told = [messages_in(reader) for reader in readers]
    messages = server.get(f"{url}?offset=-1").json()
    assert text_of(messages) == "".join(f"{n} " for n in range(20))
    assert told == [messages] * 3


@pytest.mark.parametrize("live", ["sse", "long-poll"])
def test_client_that_goes_away_stops_the_meter(serve: Callable[..., Server], upstream: Upstream, live: str) -> None:
    server = serve(upstream, disconnect_grace_s=0.5)
    upstream.answer("Hello", Stall())
    url = server.post("/llm/streams").json()["url"]
    _, offset = eventually(lambda: so_far(server, url))
    client = Connection.get(server.port, f"{url}?offset={offset}&live={live}")
    assert not upstream.request(0).left.wait(1.5), "it is a reader"
    client.close()
    assert upstream.request(0).left.wait(SOON_S)
    eventually(server.at_rest)
    assert server.record(url.rpartition("/")[2])["status"] == "abandoned"
    assert "Traceback" not in server.log
