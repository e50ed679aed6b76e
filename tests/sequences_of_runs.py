"""Any answer of an agent, as Hypothesis draws it: steps with tools, approvals, sources, files, data and what the
provider wants back."""

from __future__ import annotations

from itertools import count
from typing import Any

from hypothesis import strategies as st

from llm_stream.events import WHOLE
from llm_stream.events import Approval
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Partial
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Source
from llm_stream.events import Start
from llm_stream.events import Step
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult

from .sequences import ENDINGS
from .sequences import FAILED
from .sequences import STREAM_ID
from .sequences import failures
from .sequences import said
from .sequences import some_text
from .sequences import texts
from .sequences import usages

plain_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | said,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
sources = st.builds(
    Source,
    url=some_text.map("https://example.org/".__add__),
    title=st.none() | said,
    start=st.none() | st.integers(0, 100),
    end=st.none() | st.integers(0, 100),
)
files = st.builds(
    File,
    url=st.sampled_from(["https://example.org/a.png", "data:image/png;base64,AA=="]),
    media_type=st.sampled_from(["image/png", "application/pdf"]),
    name=st.none() | said,
)
PATCHES: list[Any] = [
    [],
    [{"op": "add", "path": "", "value": None}],
    [{"op": "test", "path": "/a~1b", "value": 1}, {"op": "remove", "path": "/a"}],
    [{"op": "move", "from": "/a", "path": "/b"}],
]
"""JSON Patches. Most of them do not apply to a state that is drawn, which clients ignore."""

no_patches: st.SearchStrategy[Any] = st.sampled_from(
    [None, {}, [7], [{"op": "add", "path": "/a"}], [{"op": "copy", "path": "/a"}], [{"op": "remove", "path": "a"}]]
)
data = st.one_of(
    st.builds(Data, name=said, data=plain_json, id=st.none() | said, transient=st.booleans()),
    st.builds(Data, name=st.just("state"), data=plain_json),
    st.builds(Partial, plain_json, st.booleans()),
    st.builds(Data, name=st.just("state_delta"), data=st.sampled_from(PATCHES) | no_patches),
)
shown = sources | files | data
extra_contents = st.fixed_dictionaries({"extra_content": st.dictionaries(texts, plain_json, max_size=2)})
details = st.lists(st.dictionaries(texts, plain_json, max_size=2), max_size=2)
fields_of_messages = st.fixed_dictionaries(
    {}, optional={"reasoning_details": details, "extra_content": st.dictionaries(texts, plain_json, max_size=2)}
)


@st.composite
def runs(draw: st.DrawFn, *, resets: bool = True, refusals: bool = True, whole: bool = False) -> list[Event]:
    """A whole log, from `Start` to `Done`. `whole`: the model finishes."""
    start = Start(STREAM_ID, draw(st.sampled_from(["openai/gpt-4o-mini", None])), draw(st.integers(0, 2**31)))
    content = draw(_attempts(refusals))
    for reason in draw(st.lists(st.just("upstream_cut"), max_size=1)) if resets else ():
        content += [Reset(reason), *draw(_attempts(refusals))]
    status = draw(st.sampled_from(WHOLE if whole else list(ENDINGS)))
    failure = [draw(failures)] if status in FAILED else []
    return [start, *content, *failure, draw(usages), Done(status, draw(st.sampled_from(ENDINGS[status])))]


@st.composite
def _attempts(draw: st.DrawFn, refusals: bool) -> list[Event]:
    """First the results of calls that the reader has approved, then the steps."""
    earlier = draw(st.lists(plain_json, max_size=2))
    events: list[Event] = [ToolResult(f"earlier_{n}", "delete", result) for n, result in enumerate(earlier)]
    indexes = count()
    number_of_steps = draw(st.integers(1, 3))
    for number in range(1, number_of_steps + 1):
        if number > 1:
            events.append(Step(number))
        events += draw(_steps(indexes, refusals, is_last=number == number_of_steps))
    return events


@st.composite
def _steps(draw: st.DrawFn, indexes: Any, refusals: bool, is_last: bool) -> list[Event]:
    """What the model says and calls, what its provider wants back, and what its tools show and return."""
    kinds = [Delta, Reasoning, Refusal] if refusals else [Delta, Reasoning]
    spoken = st.one_of(*(st.builds(kind, said) for kind in kinds), shown)
    events: list[Event] = draw(st.lists(spoken, max_size=5))
    calls = draw(st.lists(st.tuples(said, st.booleans()), min_size=0 if is_last else 1, max_size=2))
    begun = [ToolCall(next(indexes), "", name=name, server=server or not is_last) for name, server in calls]
    for first in begun:
        events += draw(_fragments(first))
    if draw(st.booleans()):
        names = ["reasoning", "reasoning_content"] if any(type(event) is Reasoning for event in events) else [None]
        events.append(Opaque(draw(fields_of_messages), draw(st.sampled_from(names))))
    for first in begun:
        if first.server:
            events += draw(st.lists(shown, max_size=2))
            events.append(draw(_outcomes(first, may_ask=is_last)))
    return events


@st.composite
def _fragments(draw: st.DrawFn, first: ToolCall) -> list[Event]:
    arguments, opaque = texts, st.none() | extra_contents
    rest = st.builds(ToolCall, st.just(first.index), arguments, opaque=opaque)
    named = ToolCall(first.index, draw(arguments), id_of(first), first.name, first.server, draw(opaque))
    return [named, *draw(st.lists(rest, max_size=2))]


def _outcomes(call: ToolCall, *, may_ask: bool) -> st.SearchStrategy[Event]:
    id, name = st.just(id_of(call)), st.just(call.name)
    results = st.builds(ToolResult, id, name, plain_json) | st.builds(ToolResult, id, name, error=some_text)
    asked = st.builds(Approval, some_text.map(f"token {call.index} ".__add__), id, name)
    return results | asked if may_ask else results


def id_of(call: ToolCall) -> str:
    return f"call_{call.index}"
