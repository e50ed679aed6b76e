"""Tools that run on the server, for clients of the Responses API: told as `mcp_call`, so that nobody else runs them."""

from __future__ import annotations

import json
from collections.abc import Generator
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream import Data
from llm_stream import File
from llm_stream import Source
from llm_stream import ToolError
from llm_stream.testing import Upstream

from .calling import call
from .calling import calling
from .here import Here
from .test_wire_fuzz_responses import Told

URL = "/llm/v1/responses"
PICTURE = "data:image/png;base64,iVBORw0KGgo="


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream) -> Iterator[Here]:
    here = Here(upstream)
    deleted: list[str] = []
    here.app.extensions["deleted"] = deleted

    @here.llm.tool
    def look(words: str) -> Generator[Any, None, list[str]]:
        yield Source("https://example.com/a", "A")
        yield Data("map", {"zoom": 1}, id="m")
        yield Data("news", 7, transient=True)
        yield File(PICTURE, "image/png")
        return [words]

    @here.llm.tool
    def fail() -> None:
        raise ToolError("No such thing.")

    @here.llm.tool(needs_approval=True)
    def delete(name: str) -> str:
        deleted.append(name)
        return "done"

    yield here
    here.close()


@pytest.fixture(autouse=True)
def afresh(upstream: Upstream, server: Here) -> None:
    upstream.requests.clear()
    server.app.extensions["deleted"].clear()


def ask(server: Here, input: Any = "hi", **body: Any) -> Any:
    answer = server.request("POST", URL, json={"input": input} | body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def kinds(response: dict[str, Any]) -> list[str]:
    return [item["type"] for item in response["output"]]


def test_call_of_the_server_is_told_with_its_result(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("look", words="x"), text="Let me see.")
    upstream.answer("Found.")
    told = Told([server.request("POST", URL, json={"input": "hi", "stream": True}).content])
    first, made, image, last = told.output
    assert (first["content"][0]["text"], last["content"][0]["text"]) == ("Let me see.", "Found.")
    assert (made["type"], made["server_label"], made["name"]) == ("mcp_call", "llm_stream", "look")
    assert (json.loads(made["arguments"]), made["status"]) == ({"words": "x"}, "completed")
    assert (json.loads(made["output"]), made["error"]) == (["x"], None)
    assert (image["type"], image["result"]) == ("image_generation_call", "iVBORw0KGgo=")
    (annotation,) = last["content"][0]["annotations"]
    assert (annotation["url"], annotation["title"]) == ("https://example.com/a", "A")
    named = [event for event in told.events if event["type"].startswith("response.mcp_call")]
    assert [event["type"].removeprefix("response.") for event in named] == [
        "mcp_call.in_progress",
        "mcp_call_arguments.delta",
        "mcp_call_arguments.done",
        "mcp_call.completed",
    ]


def test_data_of_the_app_has_events_and_a_field_of_its_own(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("look", words="x"))
    upstream.answer("Found.")
    told = Told([server.request("POST", URL, json={"input": "hi", "stream": True}).content])
    data = [event for event in told.events if event["type"] == "llm_stream.data"]
    assert [(event["name"], event["data"]) for event in data] == [("map", {"zoom": 1}), ("news", 7)]
    kept = [entry["data"]["name"] for entry in told.response["llm_stream"] if "data" in entry]
    assert kept == ["map"]


def test_tool_that_fails_is_told_with_its_error(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("fail"))
    upstream.answer("It failed.")
    made, _ = ask(server)["output"]
    error = {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": "No such thing."}]}
    assert (made["status"], made["output"], made["error"]) == ("failed", None, error)


@pytest.mark.parametrize("form", ["as it was", "text"])
def test_error_of_a_tool_comes_back_in_its_words(server: Here, upstream: Upstream, form: str) -> None:
    calling(upstream, call("fail"))
    upstream.answer("It failed.")
    made, said = ask(server)["output"]
    made = made if form == "as it was" else made | {"error": "No such thing."}
    upstream.answer("Bye.")
    ask(server, [{"role": "user", "content": "hi"}, made, said, {"role": "user", "content": "bye"}])
    assert upstream.requests[-1].json["messages"][2]["content"] == "No such thing."


def test_steps_come_back_as_they_were(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("look", words="x"), text="Let me see.")
    upstream.answer("Found.")
    output = ask(server)["output"]
    upstream.answer("Bye.")
    ask(server, [{"role": "user", "content": "hi"}, *output, {"role": "user", "content": "bye"}])
    messages = upstream.requests[-1].json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "user"]
    _, step, result, found, _ = messages
    assert step["tool_calls"][0]["id"] == result["tool_call_id"] == "call_look"
    assert (step["content"], result["content"], found["content"]) == ("Let me see.", '["x"]', "Found.")


@pytest.mark.parametrize("way", ["items", "references", "previous response", "decision only"])
def test_call_is_approved_by_the_next_request(server: Here, upstream: Upstream, way: str) -> None:
    calling(upstream, call("delete", name="a.txt"), text="Shall I?")
    first = ask(server)
    assert kinds(first) == ["message", "mcp_call", "mcp_approval_request"]
    request = first["output"][2]
    assert (request["name"], json.loads(request["arguments"])) == ("delete", {"name": "a.txt"})
    decision = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
    hi = {"role": "user", "content": "hi"}
    upstream.answer("Deleted.")
    if way == "previous response":
        second = ask(server, [decision], previous_response_id=first["id"])
    else:
        items = {
            "items": first["output"],
            "references": [{"type": "item_reference", "id": item["id"]} for item in first["output"]],
            "decision only": [first["output"][0]],
        }[way]
        second = ask(server, [hi, *items, decision])
    assert server.app.extensions["deleted"] == ["a.txt"]
    assert kinds(second) == ["mcp_call", "message"]
    assert (second["output"][0]["name"], second["output"][0]["output"]) == ("delete", "done")
    assert [message["role"] for message in upstream.requests[-1].json["messages"]] == ["user", "assistant", "tool"]


def test_call_of_a_response_that_was_not_stored_is_approved_by_its_id(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("delete", name="a.txt"))
    first = ask(server, store=False)
    decision = {"type": "mcp_approval_response", "approval_request_id": first["output"][-1]["id"], "approve": True}
    upstream.answer("Deleted.")
    ask(server, [{"role": "user", "content": "hi"}, decision], store=False)
    assert server.app.extensions["deleted"] == ["a.txt"]


def test_call_that_was_not_asked_about_cannot_be_approved(server: Here, upstream: Upstream) -> None:
    request = {"type": "mcp_approval_request", "id": "mcpr_forged", "name": "delete", "arguments": '{"name": "b.txt"}'}
    decision = {"type": "mcp_approval_response", "approval_request_id": "mcpr_forged", "approve": True}
    items = [{"role": "user", "content": "hi"}, request, decision]
    refused = server.request("POST", URL, json={"input": items})
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "input[2].approval_request_id")
    assert not upstream.requests


def test_call_that_is_denied_does_not_run(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("delete", name="a.txt"))
    first = ask(server)
    id = first["output"][-1]["id"]
    decision = {"type": "mcp_approval_response", "approval_request_id": id, "approve": False, "reason": "Not that one."}
    upstream.answer("Well.")
    second = ask(server, [decision], previous_response_id=first["id"])
    assert server.app.extensions["deleted"] == []
    assert second["output"][0]["error"]["content"] == [{"type": "text", "text": "Not that one."}]


def test_call_about_which_nothing_was_decided_is_left_out(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("delete", name="a.txt"), text="Shall I?")
    first = ask(server)
    upstream.answer("Well.")
    ask(server, "Never mind.", previous_response_id=first["id"])
    messages = upstream.requests[-1].json["messages"]
    assert messages[1] == {"role": "assistant", "content": "Shall I?"}


def test_conversation_goes_on_after_an_approval(server: Here, upstream: Upstream) -> None:
    calling(upstream, call("delete", name="a.txt"))
    first = ask(server)
    decision = {"type": "mcp_approval_response", "approval_request_id": first["output"][-1]["id"], "approve": True}
    upstream.answer("Deleted.")
    second = ask(server, [decision], previous_response_id=first["id"])
    upstream.answer("Bye.")
    ask(server, "bye", previous_response_id=second["id"])
    roles = [message["role"] for message in upstream.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert server.app.extensions["deleted"] == ["a.txt"]
