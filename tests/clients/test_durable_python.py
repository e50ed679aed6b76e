"""The client of Durable Streams for Python, as it is installed, follows and resumes answers.

It does not know yet that a stream can be closed, so its reader stops at `done`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from typing import Any

import httpx
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..conftest import Server
from ..durable_reading import text_of
from ..proxy import Proxy
from .scripts import AWKWARD

durable_streams = pytest.importorskip(
    "durable_streams", reason="durable-streams is missing: pip install -r requirements/dev.txt"
)

LIVE = ["sse", "long-poll"]
SETTINGS = {"disconnect_grace_s": 20, "heartbeat_s": 1, "max_streams_per_owner": 100}


class Reader:
    """Saves each message with the offset after its batch."""

    def __init__(self, url: str, live: Any, when: Mapping[str, Callable[[], None]] | None = None) -> None:
        """`when` has what happens once a text is there, in order."""
        self.messages: list[dict[str, Any]] = []
        self.offset = "-1"
        self._url = url
        self._live = live
        self._when = dict(when or {})

    def read(self, *, until: str | None = None) -> None:
        """Go on from the saved offset, to the end or until the text is there. Raises when the connection is lost."""
        with durable_streams.stream(self._url, offset=self.offset, live=self._live) as response:
            for event in response.iter_events(mode="json"):
                self.messages += event.data
                self.offset = event.next_offset
                if self.has_ended or (until is not None and until in self.text):
                    return
                if self._when and next(iter(self._when)) in self.text:
                    self._when.pop(next(iter(self._when)))()

    @property
    def text(self) -> str:
        return text_of(self.messages)

    @property
    def has_ended(self) -> bool:
        return bool(self.messages) and self.messages[-1]["type"] == "done"

    def assert_whole(self, text: str) -> None:
        """Every event once, in order."""
        numbers = [message["sequence_number"] for message in self.messages]
        assert numbers == list(range(1, len(numbers) + 1))
        assert self.messages[-1]["status"] == "completed"
        assert self.text == text


@pytest.mark.parametrize("live", LIVE)
def test_text_is_followed_to_its_end(server: Server, upstream: Upstream, live: str) -> None:
    upstream.answer(*AWKWARD)
    reader = Reader(server.url + server.post("/llm/streams").json()["url"], live)
    reader.read()
    reader.assert_whole("".join(AWKWARD))


@pytest.mark.parametrize("live", LIVE)
def test_resume_by_the_offset(server: Server, upstream: Upstream, live: str) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    with Proxy(server.port) as proxy:

        def lose(gate: Gate) -> None:
            proxy.cut()
            gate.open()

        when = {"one ": partial(lose, gates[0]), "two ": partial(lose, gates[1])}
        reader = Reader(proxy.url + server.post("/llm/streams").json()["url"], live, when)
        lost = 0
        while not reader.has_ended:
            try:
                reader.read()
            except httpx.TransportError:
                lost += 1
    assert lost == (2 if live == "sse" else 0), "a long poll that finds its connection lost opens another by itself"
    reader.assert_whole("one two three")
    assert len(upstream.requests) == 1


def test_offset_resumes_in_another_session_and_mode(server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    url = server.url + server.post("/llm/streams").json()["url"]
    first, second = Reader(url, "sse"), Reader(url, "long-poll")
    first.read(until="one ")
    gate.open()
    second.messages, second.offset = first.messages, first.offset
    second.read()
    second.assert_whole("one two")


def test_offset_reads_what_is_there_without_waiting(server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    url = server.url + server.post("/llm/streams").json()["url"]
    Reader(url, "sse").read(until="one ")
    with durable_streams.stream(url, offset="-1", live=False) as response:
        assert text_of(response.read_json()) == "one "
    gate.open()


@pytest.mark.parametrize("live", LIVE)
def test_text_by_asyncio(server: Server, upstream: Upstream, live: Any) -> None:
    upstream.answer(*AWKWARD)
    url = server.url + server.post("/llm/streams").json()["url"]

    async def read() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        async with durable_streams.astream(url, offset="-1", live=live) as response:
            async for message in response.iter_json():
                messages.append(message)
                if message["type"] == "done":
                    break
        return messages

    assert text_of(asyncio.run(read())) == "".join(AWKWARD)


def test_error_for_an_unknown_stream(server: Server) -> None:
    with pytest.raises(durable_streams.StreamNotFoundError):
        durable_streams.stream(f"{server.url}/llm/streams/unknown", offset="-1", live=False)
