"""The stock OpenAI client for Node asks by the Responses API."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import SOON_S
from ..conftest import Server
from ..conftest import eventually
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from ..proxy import Proxy
from .test_responses_python import WEATHER
from .test_structured_node import PACKAGES
from .turns import SETTINGS as SETTINGS
from .turns import calls_and_says
from .turns import says
from .turns import sent_back
from .turns import was_asked_once


@pytest.fixture(scope="module")
def client() -> Iterator[Node]:
    node = Node(node_folder("structured", PACKAGES), SCRIPTS / "responses_node.mjs")
    yield node
    node.close()


def text_of(events: list[Any]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def numbers(response: dict[str, Any]) -> list[int]:
    usage = response["usage"]
    return [usage["input_tokens"], usage["output_tokens"], usage["input_tokens_details"]["cached_tokens"]]


def test_responses_create(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    answer = client("create", url=server.url, body={"instructions": "Be brief."})
    assert (answer["text"], answer["response"]["status"]) == ("Hello", "completed")
    assert numbers(answer["response"]) == [100, 20, 40]
    was_asked_once(upstream)


def test_responses_create_stream(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo\r\n", "🙂\u2028")
    answer = client("stream", url=server.url, body={})
    assert (text_of(answer["events"]), answer["error"]) == ("Hello\r\n🙂\u2028", None)
    assert numbers(answer["events"][-1]["response"]) == [100, 20, 40]
    was_asked_once(upstream)


def test_responses_stream_helper(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    assert client("streamHelper", url=server.url) == {"text": "Hello", "snapshots": ["Hel", "Hello"]}


def test_responses_parse(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, '{"degrees"', ": 7}")
    assert client("parse", url=server.url) == {"degrees": 7}
    assert upstream.requests[0].json["response_format"]["json_schema"]["name"] == "weather"


def test_responses_tools_all_the_way_round(client: Node, server: Server, upstream: Upstream) -> None:
    calls_and_says(upstream)
    question = {"role": "user", "content": "hi"}
    first = client("stream", url=server.url, body={"input": [question], "tools": [WEATHER]})
    (call,) = first["events"][-1]["response"]["output"]
    result = {"type": "function_call_output", "call_id": call["call_id"], "output": "7 degrees"}
    second = client("create", url=server.url, body={"input": [question, call, result], "tools": [WEATHER]})
    assert second["text"] == "7 degrees."
    sent_back(upstream)


def test_responses_previous_response_id(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "First.")
    says(upstream, "Second.")
    first = client("create", url=server.url, body={})["response"]
    assert client("create", url=server.url, body={"previous_response_id": first["id"]})["text"] == "Second."
    assert [message["content"] for message in upstream.requests[1].json["messages"]] == ["hi", "First.", "hi"]


def test_responses_retrieve_stream(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    events = client("stream", url=server.url, body={})["events"]
    id = events[0]["response"]["id"]
    for after, event in enumerate(events):
        again = client("retrieveStream", url=server.url, id=id, after=event["sequence_number"])
        assert again == {"events": events[after + 1 :], "error": None}
    was_asked_once(upstream)


def test_responses_retrieve_with_the_stream_helper(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hel", "lo")
    id = client("create", url=server.url, body={"background": True})["response"]["id"]
    assert client("streamHelperOf", url=server.url, id=id) == "Hello"
    was_asked_once(upstream)


def test_responses_background_and_polling(client: Node, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate, "lo")
    id = client("create", url=server.url, body={"background": True})["response"]["id"]
    eventually(lambda: client("retrieve", url=server.url, id=id)["status"] == "in_progress")
    gate.open()
    eventually(lambda: client("retrieve", url=server.url, id=id)["status"] == "completed")
    was_asked_once(upstream)


def test_responses_cancel(client: Node, server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    id = client("create", url=server.url, body={"background": True})["response"]["id"]
    asked = upstream.request(0)
    assert client("cancel", url=server.url, id=id) == "cancelled"
    assert asked.left.wait(SOON_S)


def test_responses_delete(client: Node, server: Server, upstream: Upstream) -> None:
    says(upstream, "Hello")
    id = client("create", url=server.url, body={})["response"]["id"]
    assert client("remove", url=server.url, id=id)["status"] == 404


def test_responses_resume_in_the_middle_of_a_sentence(client: Node, server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Half a ", "sentence", gate, " and ", "the rest.")
    with Proxy(server.port) as proxy:
        client("begin", url=proxy.url, body={})
        client("until", text="Half a sentence")
        proxy.cut()
        first = client("ended")
        assert first["error"]
        id, number = first["events"][0]["response"]["id"], first["events"][-1]["sequence_number"]
        gate.open()
        rest = client("retrieveStream", url=proxy.url, id=id, after=number)
    events = first["events"] + rest["events"]
    assert (rest["error"], text_of(events)) == (None, "Half a sentence and the rest.")
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    was_asked_once(upstream)


def test_responses_error(client: Node, server: Server, upstream: Upstream) -> None:
    upstream.answer(status=400)
    error = client("create", url=server.url, body={})["error"]
    assert (error["name"], error["status"]) == ("BadRequestError", 400)
    was_asked_once(upstream)
