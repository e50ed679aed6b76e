"""`llm.stream(id)` in the app's own views, for a stream of this worker or of another one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream import LLMStreamError
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.web.handle import StreamHandle

from .conftest import SOON_S
from .conftest import eventually
from .here import LOGS
from .here import MEMORY
from .here import Here
from .here import Pair
from .here import sharing
from .keeping import METADATA
from .keeping import asking


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param) as pair:
        asking(pair.a.app)
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


def stream_at(here: Here, stream_id: str) -> StreamHandle:
    with here.app.app_context():
        return here.llm.stream(stream_id)


def shows(stream: StreamHandle, state: str, text: str) -> None:
    """It does so soon: what another worker writes takes a moment."""
    eventually(lambda: (stream.state, stream.answer.text) == (state, text))


def test_running_stream_shows_what_there_is_and_can_be_stopped(pair: Pair) -> None:
    pair.upstream.answer("one ", Stall())
    with pair.a.client_of("ann").stream("GET", "/ask?key=k1") as running:
        pieces = running.iter_text()
        while "one " not in next(pieces):
            pass
        stream_id = running.headers["x-llm-stream-id"]
        for here in (pair.a, pair.b):
            stream = stream_at(here, stream_id)
            shows(stream, "running", "one ")
            assert (stream.id, stream.owner, stream.model) == (stream_id, "ann", "scripted")
            assert (stream.state, stream.answer.status) == ("running", "running")
            assert (stream.metadata, stream.answer.metadata) == (METADATA, METADATA)
            assert stream.answer.record is None
        stream_at(pair.b, stream_id).stop()
        assert '"cancelled"' in "".join(pieces)
    assert pair.upstream.request(0).left.wait(SOON_S)


def test_ended_stream_has_its_answer(pair: Pair) -> None:
    pair.upstream.answer("Hello")
    stream_id = pair.a.get("/ask?key=k2").headers["x-llm-stream-id"]
    for here in (pair.a, pair.b):
        stream = stream_at(here, stream_id)
        shows(stream, "completed", "Hello")
        answer = stream.answer
        assert (answer.text, answer.finish_reason, answer.key) == ("Hello", "stop", "k2")
        assert answer.messages == [{"role": "assistant", "content": "Hello"}]
        assert stream.metadata == METADATA
        stream.stop()
        assert stream.state == "completed", "a stop comes too late, and does no harm"
    assert stream_at(pair.a, stream_id).answer.record == pair.record(stream_id)


def test_stream_of_another_owner_is_found_and_names_its_owner(pair: Pair) -> None:
    pair.upstream.answer("Hello")
    with pair.a.client_of("ben") as ben:
        stream_id = ben.get("/ask").headers["x-llm-stream-id"]
    assert [stream_at(here, stream_id).owner for here in (pair.a, pair.b)] == ["ben", "ben"]


def test_unknown_stream_is_an_error_with_its_status(pair: Pair) -> None:
    for here in (pair.a, pair.b):
        with pytest.raises(LLMStreamError) as raised:
            stream_at(here, "8a8b35a6a342e491b341")
        assert raised.value.status == 404


@pytest.mark.parametrize("log", LOGS)
def test_expired_stream_is_an_error_with_its_status(log: str) -> None:
    with sharing(log, retention_s=0.5) as pair:
        stream_id, url = pair.start("Hello")
        pair.a.events(url)

        def statuses() -> Any:
            found = []
            for here in (pair.a, pair.b):
                try:
                    stream_at(here, stream_id)
                except LLMStreamError as error:
                    found.append(error.status)
            return found if len(found) == 2 else None

        assert eventually(statuses, "the expiry") == [410, 410]


def test_looking_at_it_keeps_an_unread_stream_waiting() -> None:
    with sharing(MEMORY, disconnect_grace_s=1) as pair:
        gate = Gate()
        stream_id, _ = pair.start("one ", gate, "two")
        stream = stream_at(pair.a, stream_id)
        began = stream._stream.readerless_since
        assert stream.answer.status == "running"
        assert stream._stream.readerless_since > began
        gate.open()
        eventually(lambda: stream.state == "completed")
