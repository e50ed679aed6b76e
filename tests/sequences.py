"""Any answer there can be, as Hypothesis draws it, and its bytes in any pieces: for the tests of every wire."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Partial
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Source
from llm_stream.events import Start
from llm_stream.events import Status
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.wire import Wire

STREAM_ID = "8a8b35a6a342e491b341"

texts = st.text(st.characters(codec="utf-8"))
some_text = texts.filter(bool)
awkward = st.sampled_from(
    ["\n", "\r", "\r\n", "\u2028", "\x00", "\ufeff", "data: [DONE]\n\n", ": ping", '"', "\\", "🙂"]
)
"""What a parser of event streams, or of JSON, might stumble over."""

said = some_text | awkward
counts = st.none() | st.integers(0, 2**53)
usages = st.builds(
    Usage,
    input_tokens=counts,
    output_tokens=counts,
    cached_tokens=counts,
    reasoning_tokens=counts,
    source=st.sampled_from(["provider", "partial", "estimated", "none", "unknown"]),
    cost=st.none() | st.decimals(0, 1000, places=6).map(abs),
    currency=st.sampled_from(["USD", "INR"]),
)
failures = st.builds(
    Failure,
    code=st.sampled_from(["upstream_cut", "upstream_throttled", "context_too_long", "interrupted", "internal"]),
    message=some_text,
    retryable=st.booleans(),
    error_id=st.just("3fa4c1d2e5b6"),
    retry_after=st.none() | st.floats(0, 100),
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | said,
    lambda values: st.lists(values, max_size=3) | st.dictionaries(texts, values, max_size=3),
    max_leaves=5,
)
json_objects = st.dictionaries(texts, json_values, min_size=1, max_size=2)
extras = st.fixed_dictionaries({"extra_content": json_objects})
urls = st.sampled_from(["https://a.example/?q=ü#x", "https://b.example/", "data:image/png;base64,iVBORw0KGgo="])
places: st.SearchStrategy[dict[str, int]] = st.just({}) | st.builds(
    lambda start, length: {"start": start, "end": start + length}, st.integers(0, 99), st.integers(1, 9)
)
SAYING: dict[type[Event], st.SearchStrategy[Event]] = {
    kind: st.builds(kind, said) for kind in (Delta, Reasoning, Refusal)
}
BESIDE: dict[type[Event], st.SearchStrategy[Event]] = {
    Source: st.builds(lambda url, title, place: Source(url, title, **place), urls, st.none() | some_text, places),
    File: st.builds(File, urls, st.sampled_from(["image/png", "application/pdf"]), st.none() | some_text),
    Data: st.builds(Data, some_text, json_values, st.none() | st.sampled_from(["a", "b"]), st.booleans()),
    Partial: st.builds(Partial, json_values, st.booleans()),
    Opaque: st.builds(
        Opaque,
        extras | st.fixed_dictionaries({"reasoning_details": st.lists(json_objects, min_size=1, max_size=2)}),
        st.sampled_from([None, "reasoning", "reasoning_content"]),
    ),
}
"""What an answer may have beside text and tools."""

ENDINGS: dict[Status, list[str | None]] = {
    "completed": ["stop", "tool_calls", "function_call", "eos", None],
    "incomplete": ["length", "content_filter", "max_tokens"],
    "cancelled": [None],
    "abandoned": [None],
    "over_budget": [None],
    "failed": [None],
    "timed_out": [None],
    "interrupted": [None],
}
FAILED = ("failed", "timed_out", "interrupted")


@st.composite
def well_formed_sequences(draw: st.DrawFn, *, resets: bool = True, agents: bool = False) -> list[Event]:
    """A whole log, from `Start` to `Done`, as a stream may write it.

    With `resets`, it may have several attempts; with `agents`, tools that run on the server, and all that may come with
    them.
    """
    start = Start(STREAM_ID, draw(st.sampled_from(["openai/gpt-4o-mini", "modèle"])), draw(st.integers(0, 2**31)))
    contents = _steps() if agents else _contents()
    content = draw(contents)
    for reason in draw(st.lists(st.just("upstream_cut"), max_size=1)) if resets else ():
        content += [Reset(reason), *draw(contents)]
    status = draw(st.sampled_from(list(ENDINGS)))
    failure = [draw(failures)] if status in FAILED else []
    return [start, *content, *failure, draw(usages), Done(status, draw(st.sampled_from(ENDINGS[status])))]


@st.composite
def _contents(draw: st.DrawFn) -> list[Event]:
    """What a model says in one attempt; of a tool call only the first fragment has its id and its name."""
    events: list[Event] = []
    begun: set[int] = set()
    for kind in draw(st.lists(st.sampled_from([Delta, Reasoning, Refusal, ToolCall]))):
        if kind is not ToolCall:
            events.append(draw(st.builds(kind, said)))
            continue
        index = draw(st.integers(0, 2))
        named: dict[str, Any] = {} if index in begun else {"id": f"call_{index}", "name": draw(said)}
        begun.add(index)
        events.append(ToolCall(index=index, arguments=draw(texts | awkward), **named))
    return events


@st.composite
def _steps(draw: st.DrawFn) -> list[Event]:
    """What a model says in one attempt, and what its tools return."""
    events: list[Event] = [
        draw(st.builds(ToolResult, st.just("earlier"), some_text, json_values))
        for _ in draw(st.lists(st.just(None), max_size=1))
    ]
    for number, first in enumerate(range(0, 3 * draw(st.integers(1, 3)), 3), 1):
        if number > 1:
            events.append(Step(number))
        calls: dict[int, ToolCall] = {}
        for kind in draw(st.lists(st.sampled_from([*SAYING, *BESIDE, ToolCall]))):
            if kind is not ToolCall:
                events.append(draw((SAYING | BESIDE)[kind]))
                continue
            index = first + draw(st.integers(0, 2))
            named: dict[str, Any] = {}
            if index not in calls:
                named = {"id": f"call_{index}", "name": draw(said), "server": draw(st.booleans())}
            call = ToolCall(index, draw(texts | awkward), **named, opaque=draw(st.none() | extras))
            calls.setdefault(index, call)
            events.append(call)
        events += [outcome for call in calls.values() for outcome in draw(_outcomes(call))]
    return events


@st.composite
def _outcomes(draw: st.DrawFn, call: ToolCall) -> list[Event]:
    """A call of the server's has a result, or waits for approval, or was interrupted."""
    assert call.id and call.name
    outcomes: list[Event] = [
        Approval("token", call.id, call.name),
        ToolResult(call.id, call.name, draw(json_values)),
        ToolResult(call.id, call.name, error=draw(said)),
    ]
    return draw(st.lists(st.sampled_from(outcomes), max_size=1)) if call.server else []


@st.composite
def batches(draw: st.DrawFn, events: Sequence[Event]) -> list[Sequence[Event]]:
    """The same events, as they may come together."""
    places = draw(st.lists(st.integers(0, len(events))))
    return [events[start:end] for start, end in _edges(len(events), places)]


@st.composite
def splits(draw: st.DrawFn, body: bytes) -> list[bytes]:
    """The same bytes, as a network may bring them: also one by one."""
    places = range(len(body)) if draw(st.booleans()) else draw(st.lists(st.integers(0, len(body))))
    return [body[start:end] for start, end in _edges(len(body), places)]


def written(wire: Wire, batches: Sequence[Sequence[Event]]) -> bytes:
    """All that a reader is sent, with a heartbeat in every silence."""
    body, first = wire.opening(), 1
    for batch in batches:
        body += wire.encode(STREAM_ID, first, batch) + wire.heartbeat
        first += len(batch)
    return body


def _edges(length: int, places: Iterable[int]) -> Iterable[tuple[int, int]]:
    return pairwise(sorted({0, *places, length}))
