"""The wire of the Responses API: any answer, through a parser that knows the order of its events and OpenAI's types."""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from llm_stream.events import WHOLE
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Start
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.wire.responses import ResponsesWire
from llm_stream.wire.responses import response_of

from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written
from .test_wire_fuzz import messages

ASKED: dict[str, Any] = {"instructions": None, "tools": [], "tool_choice": "auto", "parallel_tool_calls": True}

adapter: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)

ENDS = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
PARTS = {"output_text": "text", "refusal": "refusal"}


class Told:
    """What a client makes of a response; an event in the wrong place fails here."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self.output: list[dict[str, Any]] = []
        self.texts: dict[tuple[int, str], str] = {}
        self._done: set[int] = set()
        told = [(name, json.loads(data)) for _, name, data in messages(pieces)]
        assert all(name == event["type"] for name, event in told)
        self.events = [event for _, event in told]
        assert [event["sequence_number"] for event in self.events] == list(range(len(told)))
        assert [event["type"] for event in self.events[:2]] == ["response.created", "response.in_progress"]
        for event in self.events[2:-1]:
            self._take(event)
        self.response = self.events[-1]["response"]
        assert self.events[-1]["type"] in ENDS
        assert self.events[-1]["type"] == f"response.{self.response['status']}"
        assert self._done == set(range(len(self.output)))

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["type"].removeprefix("response.")
        if event["type"].startswith("llm_stream."):
            return
        index = event["output_index"]
        if kind == "output_item.added":
            assert index == len(self.output)
            self.output.append(event["item"])
            return
        assert index < len(self.output) and index not in self._done
        if kind == "output_item.done":
            self._done.add(index)
            assert event["item"]["id"] == self.output[index]["id"]
            self.output[index] = event["item"]
            return
        assert event["item_id"] == self.output[index]["id"]
        name, _, what = kind.rpartition(".")
        place = (index, f"{name} {event.get('content_index')}")
        if what == "delta":
            self.texts[place] = self.texts.get(place, "") + event["delta"]
        elif what == "done" and name in ("output_text", "refusal", "reasoning_summary_text", "function_call_arguments"):
            whole = event.get("text", event.get("refusal", event.get("arguments")))
            assert whole == self.texts.get(place, "")


def told_by(wire: ResponsesWire, together: Sequence[Sequence[Event]]) -> list[dict[str, Any]]:
    return [json.loads(data) for _, _, data in messages([written(wire, together)])]


def said(events: Sequence[Event], kind: type[Delta] | type[Refusal] | type[Reasoning]) -> str:
    return "".join(event.text for event in events if isinstance(event, kind))


def in_output(output: Sequence[dict[str, Any]], type: str, field: str) -> str:
    parts = [part for item in output for part in item.get("content", item.get("summary", ()))]
    return "".join(part[field] for part in parts if part["type"] == type)


def up_to_reset(events: Sequence[Event]) -> Sequence[Event]:
    """What a client is told of: an answer that began again cannot be told."""
    return events[: next((at for at, event in enumerate(events) if isinstance(event, Reset)), len(events))]


@given(st.data())
def test_client_gets_what_was_written_each_item_opened_and_closed(data: st.DataObject) -> None:
    events = data.draw(well_formed_sequences(agents=data.draw(st.booleans())))
    body = written(ResponsesWire(ASKED), data.draw(batches(events)))
    told, heard = Told(data.draw(splits(body))), up_to_reset(events)
    assert in_output(told.output, "output_text", "text") == said(heard, Delta)
    assert in_output(told.output, "refusal", "refusal") == said(heard, Refusal)
    assert in_output(told.output, "summary_text", "text") == said(heard, Reasoning)
    assert told.response["output"] == told.output
    done = events[-1]
    assert isinstance(done, Done)
    if len(heard) == len(events):
        assert (told.response["status"] in WHOLE) == (done.status in WHOLE)
    else:
        assert told.response["status"] == "failed"


@given(st.data())
def test_calls_of_the_client_are_the_only_function_calls(data: st.DataObject) -> None:
    events = data.draw(well_formed_sequences(resets=False, agents=data.draw(st.booleans())))
    told = Told([written(ResponsesWire(ASKED), [events])])
    calls: dict[int, list[ToolCall]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            calls.setdefault(event.index, []).append(event)
    kinds = [(item["type"], item["arguments"]) for item in told.output if item["type"] in ("function_call", "mcp_call")]
    for fragments in calls.values():
        kind = "mcp_call" if fragments[0].server else "function_call"
        assert (kind, "".join(fragment.arguments for fragment in fragments)) in kinds


@given(st.data())
def test_client_that_comes_back_gets_the_events_after_its_number(data: st.DataObject) -> None:
    events = data.draw(well_formed_sequences(agents=data.draw(st.booleans())))
    whole = told_by(ResponsesWire(ASKED), [events])
    after = data.draw(st.integers(-1, len(whole)))
    assert told_by(ResponsesWire(ASKED, starting_after=after), data.draw(batches(events))) == whole[after + 1 :]


@given(st.data())
def test_whole_response_is_the_one_that_the_stream_ends_with(data: st.DataObject) -> None:
    events = data.draw(well_formed_sequences(agents=data.draw(st.booleans())))
    told = Told([written(ResponsesWire(ASKED), [events])])
    assert json.loads(json.dumps(response_of(events, ASKED))) == told.response


@given(st.data())
def test_events_are_of_openais_types(data: st.DataObject) -> None:
    events = data.draw(well_formed_sequences(agents=data.draw(st.booleans())))
    for event in Told([written(ResponsesWire(ASKED), [events])]).events:
        if "response" not in event and not event["type"].startswith("llm_stream."):
            adapter.validate_python(event)


def test_stream_id_is_in_the_ids_of_items() -> None:
    events = [Start(STREAM_ID, "m", 1), Delta("Hi"), Usage(source="unknown"), Done("completed")]
    (item,) = response_of(events, ASKED)["output"]
    assert item["id"] == f"msg_{STREAM_ID}_0"
