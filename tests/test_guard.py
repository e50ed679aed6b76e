"""Whatever goes into the guard, a well-formed sequence of events comes out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.chat import ChatCompletionChunk

from llm_stream import Delta
from llm_stream import Done
from llm_stream import Event
from llm_stream import Failure
from llm_stream import Reasoning
from llm_stream import Start
from llm_stream import ToolCall
from llm_stream import Usage
from llm_stream import guard


def raising(*items: Any, error: BaseException) -> Iterator[Any]:
    yield from items
    raise error


def chunk(content: str | None, finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": finish}]}


def kinds(events: list[Event]) -> list[str]:
    return [event.type for event in events]


def test_text_becomes_deltas() -> None:
    assert list(guard(["a", "", None, "b"])) == [Delta("a"), Delta("b"), Done("completed")]


def test_nothing_at_all_is_completed() -> None:
    assert list(guard([])) == [Done("completed")]


def test_events_pass_through_and_the_usage_comes_before_the_end() -> None:
    usage = Usage(output_tokens=1)
    given = [Reasoning("r"), usage, [Delta("a"), Delta("b")], Done("incomplete", "length"), "after the end"]
    assert list(guard(given)) == [Reasoning("r"), Delta("a"), Delta("b"), usage, Done("incomplete", "length")]


def test_exception_becomes_a_failure_that_says_nothing(caplog: pytest.LogCaptureFixture) -> None:
    events = list(guard(raising("a", error=RuntimeError("sk-secret"))))
    assert kinds(events) == ["delta", "failure", "done"]
    failure = events[1]
    assert isinstance(failure, Failure)
    assert "sk-secret" not in str(events)
    assert failure.error_id in caplog.text
    assert "sk-secret" in caplog.text


@pytest.mark.parametrize("source", [None, 7, object(), [object()], [{}], [b"bytes"]])
def test_what_is_no_stream_is_a_failure(source: Any) -> None:
    assert kinds(list(guard(source))) == ["failure", "done"]


def test_chunks_of_the_sdk_are_understood() -> None:
    model = SimpleNamespace(model_dump=lambda exclude_unset: chunk("b", "stop"))
    assert list(guard([chunk("a"), model])) == [Delta("a"), Delta("b"), Done("completed", "stop")]


def completion(answer: str, *calls: str, content: str | None = None) -> ChatCompletion:
    made = [{"id": f"{answer}-{arguments}", "function": {"name": "f", "arguments": arguments}} for arguments in calls]
    message = {"role": "assistant", "content": content, "tool_calls": made or None}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    return ChatCompletion.model_construct(None, id=answer, choices=[choice], usage=usage)  # as the SDK makes it


def test_whole_answer_of_the_sdk_is_understood() -> None:
    assert list(guard([completion("a", "{}", '{"x":1}')])) == [
        ToolCall(0, "{}", "a-{}", "f"),
        ToolCall(1, '{"x":1}', 'a-{"x":1}', "f"),
        Usage(3, 2, source="provider"),
        Done("completed", "tool_calls"),
    ]


def test_whole_answers_of_several_calls_are_all_passed_on() -> None:
    events = list(guard([completion("a", "{}"), completion("b", "{}"), completion("c", content="x")]))
    assert events[:3] == [ToolCall(0, "{}", "a-{}", "f"), ToolCall(1, "{}", "b-{}", "f"), Delta("x")]


def test_whole_message_behind_its_chunks_is_not_said_again() -> None:
    ends = {"choices": [{"index": 0, "message": {"content": "ab"}, "finish_reason": "stop"}]}
    assert list(guard([chunk("a"), chunk("b"), ends])) == [Delta("a"), Delta("b"), Done("completed", "stop")]


def test_flat_error_that_the_sdk_lets_through_is_a_failure() -> None:
    error = ChatCompletionChunk.model_construct(None, message="sk-secret", code=429, type="error")
    failure, done = guard([error])
    assert isinstance(failure, Failure) and failure.code == "upstream_throttled"
    assert done == Done("failed")


def test_truncated_stream_of_chunks_is_a_failure() -> None:
    events = list(guard([chunk("a"), chunk("b")]))
    assert kinds(events) == ["delta", "delta", "failure", "done"]
    assert isinstance(events[2], Failure) and events[2].code == "upstream_cut"
    assert events[3] == Done("failed")


def test_failure_of_ones_own_ends_as_failed() -> None:
    failure = Failure("mine", "words", False, "e1")
    assert list(guard(["a", failure])) == [Delta("a"), failure, Done("failed")]


def test_source_is_closed_with_the_guard() -> None:
    closed = []

    def source() -> Iterator[str]:
        try:
            yield "a"
            yield "b"
        finally:
            closed.append(True)

    guarded = guard(source())
    next(guarded)
    guarded.close()
    assert closed


def test_source_that_never_ends_after_its_end_is_left() -> None:
    assert list(guard(itertools.chain(["a", Done("completed")], itertools.repeat("x")))) == [
        Delta("a"),
        Done("completed"),
    ]


class Timeout(BaseException):
    """As gevent's is."""


@pytest.mark.parametrize("error", [Timeout(), SystemExit(1), asyncio.CancelledError()])
def test_error_that_is_no_exception_is_a_failure_too(error: BaseException) -> None:
    assert kinds(list(guard(raising("a", error=error)))) == ["delta", "failure", "done"]


NONSENSE: Any = [
    (Delta, [5]),
    (Done, ["weird"]),
    (Done, ["completed", "\ud800"]),
    (Usage, [object()]),
    (Event, []),
]


@pytest.mark.parametrize(("kind", "fields"), NONSENSE)
def test_event_that_no_wire_could_write_is_a_failure(kind: type[Event], fields: list[Any]) -> None:
    assert kinds(list(guard(["a", kind(*fields)]))) == ["delta", "failure", "done"]


def test_half_a_pair_is_replaced_and_a_start_left_out() -> None:
    assert list(guard(["a\ud800", Start("s", "m", 1)])) == [Delta("a\ufffd"), Done("completed")]


items = st.one_of(
    st.none(),
    st.text(),
    st.builds(Delta, st.text()),
    st.builds(Usage),
    st.builds(Done, st.just("completed")),
    st.builds(Failure, st.text(), st.text(), st.booleans(), st.text()),
    st.just(chunk("x")),
    st.just({"error": "x"}),
    st.integers(),
    st.builds(ValueError),
)


@given(st.lists(items))
def test_any_sequence_comes_out_well_formed(given: list[Any]) -> None:
    def source() -> Iterator[Any]:
        for item in given:
            if isinstance(item, Exception):
                raise item
            yield item

    found = kinds(list(guard(source())))
    assert found.count("done") == 1 and found[-1] == "done"
    assert found.count("failure") <= 1 and found.count("usage") <= 1
    tail = [kind for kind in found if kind in ("failure", "usage", "done")]
    assert tail == [kind for kind in ("failure", "usage", "done") if kind in tail]
    assert found[-len(tail) :] == tail


def test_message_of_another_answer_is_another() -> None:
    """A generator of the user's may give the answers of several calls."""
    call = {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}
    message = {"role": "assistant", "content": "Hm", "tool_calls": [call]}
    answers = [
        {"id": name, "model": "m", "choices": [{"index": 0, "message": message, "finish_reason": "tool_calls"}]}
        for name in ("one", "two")
    ]
    assert list(guard(answers)) == [
        *[Delta("Hm"), ToolCall(0, '{"x":1}', "a", "f")],
        *[Delta("Hm"), ToolCall(1, '{"x":1}', "a", "f")],
        Done("completed", "tool_calls"),
    ]
