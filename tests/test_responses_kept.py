"""Responses that are kept: followed, continued, stopped and deleted at every worker, wherever the log is."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from typing import Any

import httpx2
import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall

from .calling import call
from .calling import calling
from .conftest import eventually
from .here import LOGS
from .here import Here
from .here import Pair
from .here import sharing
from .test_wire_fuzz import messages
from .test_wire_fuzz_responses import Told

URL = "/llm/v1/responses"
NAMED = {"type": "function", "name": "f", "parameters": {"type": "object"}}


@pytest.fixture(scope="module", params=LOGS)
def sharers(request: pytest.FixtureRequest) -> Iterator[Pair]:
    with sharing(request.param, disconnect_grace_s=0.5, total_s=30) as pair:
        yield pair


@pytest.fixture
def pair(sharers: Pair) -> Pair:
    sharers.clear()
    return sharers


def ask(here: Here, input: Any = "hi", **body: Any) -> httpx2.Response:
    return here.request("POST", URL, json={"input": input} | body)


def events_of(answer: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(data) for _, _, data in messages([answer.content])]


def sent(pair: Pair) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pair.upstream.requests[-1].json["messages"]
    return found


def test_response_is_retrieved_at_every_worker(pair: Pair) -> None:
    response = ask(pair.a, metadata={"a": "b"}).json()
    assert pair.a.get(f"{URL}/{response['id']}").json() == response
    elsewhere = pair.b.get(f"{URL}/{response['id']}").json()
    assert elsewhere | {"completed_at": None} == response | {"completed_at": None}


def test_stream_is_followed_from_any_number_and_nothing_is_bought_twice(pair: Pair) -> None:
    pair.upstream.answer("One ", "two ", "three.")
    told = events_of(ask(pair.a, stream=True))
    response_id = told[-1]["response"]["id"]
    for after in (0, 4, len(told) - 2, len(told) - 1):
        rest = events_of(pair.b.get(f"{URL}/{response_id}?stream=true&starting_after={after}"))
        assert without_ends(rest) == without_ends(told[after + 1 :])
    assert len(pair.upstream.requests) == 1


def without_ends(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Only the worker that wrote it knows when it ended."""
    return [
        event | {"response": event["response"] | {"completed_at": None}} if "response" in event else event
        for event in events
    ]


def test_stream_without_a_number_is_told_from_its_start(pair: Pair) -> None:
    response = ask(pair.a).json()
    told = Told([pair.b.get(f"{URL}/{response['id']}?stream=true").content])
    assert told.response["output"] == response["output"]


def test_background_response_runs_without_a_reader(pair: Pair) -> None:
    gate = Gate()
    pair.upstream.answer("Hel", gate, "lo")
    response = ask(pair.a, background=True).json()
    assert response["status"] in ("queued", "in_progress")
    assert response["background"]
    path = f"{URL}/{response['id']}"
    eventually(lambda: pair.b.get(path).json()["output"], "the first text")
    assert pair.b.get(path).json()["status"] == "in_progress"
    gate.open()
    eventually(lambda: pair.b.get(path).json()["status"] == "completed", "the end")
    assert pair.b.get(path).json()["output"][0]["content"][0]["text"] == "Hello"


def test_background_response_that_is_streamed_says_that_it_was_queued(pair: Pair) -> None:
    types = [event["type"] for event in events_of(ask(pair.a, background=True, stream=True))]
    assert types[:3] == ["response.created", "response.queued", "response.in_progress"]


def test_response_is_cancelled_at_every_worker(pair: Pair) -> None:
    pair.upstream.answer("Hel", Stall())
    response = ask(pair.a, background=True).json()
    path = f"{URL}/{response['id']}"
    eventually(lambda: pair.a.get(path).json()["output"], "the first text")
    cancelled = pair.b.request("POST", f"{path}/cancel").json()
    assert (cancelled["status"], cancelled["output"][0]["content"][0]["text"]) == ("cancelled", "Hel")
    assert events_of(pair.b.get(f"{path}?stream=true"))[-1]["type"] == "response.cancelled"
    eventually(lambda: pair.record(response["id"].removeprefix("resp_")), "the record")


@pytest.mark.parametrize("when", ["while it runs", "afterwards"])
@pytest.mark.parametrize("where", ["a", "b"])
def test_deleted_response_is_found_at_no_worker(pair: Pair, when: str, where: str) -> None:
    pair.upstream.answer("Hel", *([Stall()] if when == "while it runs" else []))
    response = ask(pair.a, background=True).json()
    path, worker = f"{URL}/{response['id']}", getattr(pair, where)
    stream_id = response["id"].removeprefix("resp_")
    eventually(lambda: pair.a.get(path).json()["output"], "the first text")
    if when == "afterwards":
        eventually(lambda: pair.b.get(path).json()["status"] == "completed", "the end")
    deleted = worker.request("DELETE", path)
    assert deleted.json() == {"id": response["id"], "object": "response", "deleted": True}
    for here in (pair.a, pair.b):
        for url, statuses in ((path, (404,)), (f"/llm/streams/{stream_id}", (404, 410))):
            eventually(partial(_answers, here, url, statuses), "to be forgotten")
    assert worker.request("DELETE", path).status_code == 404
    eventually(lambda: pair.record(stream_id), "the record")


def _answers(here: Here, url: str, statuses: tuple[int, ...]) -> bool:
    return here.get(url).status_code in statuses


def test_response_that_was_not_stored_cannot_be_retrieved_or_continued(pair: Pair) -> None:
    response = ask(pair.a, store=False).json()
    assert pair.a.get(f"{URL}/{response['id']}").status_code == 404
    refused = ask(pair.a, previous_response_id=response["id"])
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "previous_response_not_found")


def test_response_of_somebody_else_is_not_found(pair: Pair) -> None:
    response = ask(pair.a).json()
    with pair.a.client_of("bob") as bob:
        for method, path in (("GET", ""), ("POST", "/cancel"), ("DELETE", "")):
            assert bob.request(method, f"{URL}/{response['id']}{path}").status_code == 404
        continued = bob.post(URL, json={"input": "x", "previous_response_id": response["id"]})
        assert continued.json()["error"]["code"] == "previous_response_not_found"
        item = {"type": "item_reference", "id": response["output"][0]["id"]}
        assert bob.post(URL, json={"input": [item]}).json()["error"]["param"] == "input[0]"


def test_stream_of_another_route_is_no_response(pair: Pair) -> None:
    stream_id, _ = pair.start("Hello")
    assert pair.a.get(f"{URL}/resp_{stream_id}").status_code == 404


def test_response_continues_another_without_its_instructions(pair: Pair) -> None:
    pair.upstream.answer("Hello, Ann.")
    first = ask(pair.a, "I am Ann.", instructions="Be brief.").json()
    second = ask(pair.b, "Who am I?", previous_response_id=first["id"]).json()
    assert sent(pair) == [
        {"role": "user", "content": "I am Ann."},
        {"role": "assistant", "content": "Hello, Ann."},
        {"role": "user", "content": "Who am I?"},
    ]
    assert second["previous_response_id"] == first["id"]
    ask(pair.a, "And now?", previous_response_id=second["id"], instructions="Shout.")
    assert [message["role"] for message in sent(pair)] == ["system", *["user", "assistant"] * 2, "user"]


def test_response_that_runs_cannot_be_continued(pair: Pair) -> None:
    gate = Gate()
    pair.upstream.answer("Hel", gate)
    first = ask(pair.a, background=True).json()
    refused = ask(pair.a, previous_response_id=first["id"])
    assert refused.status_code == 400
    assert "not complete" in refused.json()["error"]["message"]
    gate.open()


def test_outputs_of_calls_continue_the_response_that_made_them(pair: Pair) -> None:
    calling(pair.upstream, call("f", a=1))
    first = ask(pair.a, tools=[NAMED]).json()
    output = {"type": "function_call_output", "call_id": "call_f", "output": "7"}
    assert ask(pair.b, [output], previous_response_id=first["id"], tools=[NAMED]).status_code == 200
    assert [message["role"] for message in sent(pair)] == ["user", "assistant", "tool"]
    missing = ask(pair.b, "x", previous_response_id=first["id"])
    assert missing.json()["error"]["message"] == "No tool output found for function call call_f."


def test_items_are_referred_to_by_their_ids(pair: Pair) -> None:
    calling(pair.upstream, call("f", a=1), text="Let me see.")
    first = ask(pair.a, tools=[NAMED]).json()
    references = [{"type": "item_reference", "id": item["id"]} for item in first["output"]]
    output = {"type": "function_call_output", "call_id": "call_f", "output": "7"}
    assert ask(pair.b, [{"role": "user", "content": "hi"}, *references, output], tools=[NAMED]).status_code == 200
    _, step, result = sent(pair)
    assert (step["content"], step["tool_calls"][0]["function"]) == (
        "Let me see.",
        {"name": "f", "arguments": '{"a": 1}'},
    )
    assert result == {"role": "tool", "tool_call_id": "call_f", "content": "7"}


def test_key_buys_one_response(pair: Pair) -> None:
    header = {"Idempotency-Key": "k-1"}
    first = pair.a.request("POST", URL, json={"input": "hi"}, headers=header).json()
    again = pair.b.request("POST", URL, json={"input": "hi"}, headers=header).json()
    assert again["id"] == first["id"]
    other = pair.b.request("POST", URL, json={"input": "other"}, headers=header)
    assert other.status_code == 409
    assert len(pair.upstream.requests) == 1
