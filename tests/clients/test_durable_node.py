"""The client of Durable Streams for Node, as it is installed, follows and resumes answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from ..conftest import Server
from ..conftest import eventually
from ..durable_reading import text_of
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from ..proxy import Proxy
from .scripts import AWKWARD

LIVE = ["sse", "long-poll", True]
"""True: the client begins with what is there, and then chooses."""

SETTINGS = {"disconnect_grace_s": 20, "heartbeat_s": 1, "max_streams_per_owner": 100}


@pytest.fixture(scope="module")
def client() -> Iterator[Node]:
    node = Node(node_folder("durable-streams", ["@durable-streams/client@0.2.7"]), SCRIPTS / "durable_streams.mjs")
    yield node
    node.close()


class Following:
    """One session of the client."""

    def __init__(self, node: Node, url: str, **options: Any) -> None:
        self._node = node
        self._name = str(uuid4())
        node("follow", name=self._name, url=url, **options)

    def seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._node("seen", name=self._name)
        assert not seen["error"]
        return seen

    def until(self, text: str) -> dict[str, Any]:
        eventually(lambda: text in text_of(self.seen()["messages"]), f"the text {text!r}")
        return self.seen()

    def ended(self) -> list[dict[str, Any]]:
        eventually(lambda: self.seen()["closed"], "the end of the session")
        messages: list[dict[str, Any]] = self.seen()["messages"]
        return messages

    def failed(self) -> str:
        error: str = eventually(lambda: self._node("seen", name=self._name)["error"], "an error")
        return error

    def cancel(self) -> None:
        self._node("cancel", name=self._name)


def assert_whole(messages: list[dict[str, Any]], text: str) -> None:
    """Every event once, in order."""
    assert [message["sequence_number"] for message in messages] == list(range(1, len(messages) + 1))
    assert (messages[0]["type"], messages[-1]["type"]) == ("start", "done")
    assert messages[-1]["status"] == "completed"
    assert text_of(messages) == text


@pytest.mark.parametrize("live", LIVE)
def test_text_is_followed_to_its_end(client: Node, server: Server, upstream: Upstream, live: Any) -> None:
    gate = Gate()
    upstream.answer(*AWKWARD, gate, "end")
    following = Following(client, server.url + server.post("/llm/streams").json()["url"], live=live)
    following.until("".join(AWKWARD))
    gate.open()
    assert_whole(following.ended(), "".join(AWKWARD) + "end")


@pytest.mark.parametrize("live", ["long-poll", True])
def test_resume_by_the_client_itself(client: Node, server: Server, upstream: Upstream, live: Any) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    with Proxy(server.port) as proxy:
        following = Following(client, proxy.url + server.post("/llm/streams").json()["url"], live=live)
        for gate, text in zip(gates, ("one ", "two "), strict=True):
            following.until(text)
            proxy.cut()
            gate.open()
        assert_whole(following.ended(), "one two three")
    assert len(upstream.requests) == 1


def test_resume_of_an_event_stream_from_the_saved_offset(client: Node, server: Server, upstream: Upstream) -> None:
    """The client reconnects where an event stream ends. Where one breaks off, it tells the app."""
    gates = [Gate(), Gate()]
    upstream.answer("one ", gates[0], "two ", gates[1], "three")
    with Proxy(server.port) as proxy:
        url = proxy.url + server.post("/llm/streams").json()["url"]
        following = Following(client, url, live="sse")
        following.until("one ")
        gates[0].open()
        seen = following.until("two ")  # the client begins with what is there, so only this came as an event
        proxy.cut()
        assert following.failed() == "TypeError: terminated"
        gates[1].open()
        rest = Following(client, url, live="sse", offset=seen["offset"]).ended()
    assert_whole(seen["messages"] + rest, "one two three")
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("live", LIVE)
def test_offset_resumes_in_another_session(client: Node, server: Server, upstream: Upstream, live: Any) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    url = server.url + server.post("/llm/streams").json()["url"]
    before = Following(client, url, live=live)
    seen = before.until("one ")
    before.cancel()
    gate.open()
    after = Following(client, url, live=live, offset=seen["offset"])
    assert_whole(seen["messages"] + after.ended(), "one two")
    assert len(upstream.requests) == 1


def test_offset_reads_what_is_there_without_waiting(client: Node, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    url = server.url + server.post("/llm/streams").json()["url"]
    Following(client, url, live="sse").until("one ")
    first = client("read", url=url)
    assert (text_of(first["messages"]), first["closed"]) == ("one ", False)
    gate.open()
    eventually(lambda: client("head", url=url)["streamClosed"])
    rest = client("read", url=url, offset=first["offset"])
    assert rest["closed"]
    assert_whole(first["messages"] + rest["messages"], "one two")
    assert client("head", url=url) == {
        "contentType": "application/json",
        "offset": rest["offset"],
        "streamClosed": True,
    }


def test_error_for_an_unknown_stream(client: Node, server: Server) -> None:
    assert client("refused", url=f"{server.url}/llm/streams/unknown") == {"status": 404}
