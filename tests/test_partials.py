"""The JSON so far of any value, written in any pieces: each partial is what the next one grows from."""

from __future__ import annotations

import json
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_stream.core.schema import Schema
from llm_stream.core.schema import schema_of
from llm_stream.core.structured import Structured
from llm_stream.events import Delta
from llm_stream.events import Event
from llm_stream.events import Partial
from llm_stream.events import Step
from llm_stream.upstream.ending import Ending
from llm_stream.upstream.source import Waits

from .sequences import json_values
from .sequences import texts

OBJECT: Any = dict[str, Any]
ANY_OBJECT, ANYTHING = Schema(OBJECT), schema_of(Any)

objects = st.dictionaries(texts, json_values, max_size=4)
LAYOUTS: list[dict[str, Any]] = [{}, {"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}]


@st.composite
def written(draw: st.DrawFn, values: st.SearchStrategy[Any]) -> tuple[Any, list[list[str]]]:
    """A value, and its text in deltas, which arrive in batches."""
    value = draw(values)
    text = json.dumps(value, **draw(st.sampled_from(LAYOUTS)))
    places = sorted(draw(st.lists(st.integers(0, len(text)), max_size=30)))
    pieces = [text[begin:end] for begin, end in zip([0, *places], [*places, len(text)], strict=True)]
    size = draw(st.integers(1, 5))
    return value, [pieces[at : at + size] for at in range(0, len(pieces), size)]


def partials_of(schema: Schema, batches: Iterable[list[Event]]) -> tuple[list[Partial], Ending]:
    checked = Structured(schema, nullcontext).checked([*batches, Ending("completed", "stop")])
    told = [batch for batch in checked if not isinstance(batch, Waits)]
    ending = told.pop()
    assert isinstance(ending, Ending)
    events = [event for batch in told if isinstance(batch, list) for event in batch]
    return [event for event in events if isinstance(event, Partial)], ending


def deltas(batches: list[list[str]]) -> list[list[Event]]:
    return [[Delta(piece) for piece in batch] for batch in batches]


def grows(before: Any, after: Any) -> bool:
    """Whether `after` may be what `before` was the beginning of: only texts, lists and objects grow."""
    if isinstance(before, dict):
        return isinstance(after, dict) and all(name in after and grows(before[name], after[name]) for name in before)
    if isinstance(before, list):
        return isinstance(after, list) and len(before) <= len(after) and all(map(grows, before, after))
    if isinstance(before, str):
        return isinstance(after, str) and after.startswith(before)
    return type(before) is type(after) and bool(before == after)


@given(written(objects))
def test_each_partial_of_an_object_is_the_beginning_of_the_next_and_the_last_is_the_value(
    answer: tuple[Any, list[list[str]]],
) -> None:
    value, batches = answer
    partials, ending = partials_of(ANY_OBJECT, deltas(batches))
    assert ending == Ending("completed", "stop")
    assert all(grows(earlier.value, later.value) for earlier, later in pairwise(partials))
    assert partials[-1] == Partial(value, whole=True)
    assert not any(partial.whole for partial in partials[:-1])
    assert all(one.value != next.value for one, next in pairwise(partials[:-1]))


def test_partial_that_is_the_same_is_not_sent_again() -> None:
    written = ["\n{", *"   \t  \n   ", *'"number"  :  ', "1}"]
    partials, _ = partials_of(ANY_OBJECT, deltas([[piece] for piece in written]))
    assert [partial.value for partial in partials] == [{}, {"number": 1}, {"number": 1}]
    assert [partial.whole for partial in partials] == [False, False, True]


@given(written(json_values.map(lambda value: {"value": value})))
def test_each_partial_of_anything_else_is_what_is_in_the_wrapper(answer: tuple[Any, list[list[str]]]) -> None:
    value, batches = answer
    partials, _ = partials_of(ANYTHING, deltas(batches))
    assert all(grows(earlier.value, later.value) for earlier, later in pairwise(partials))
    assert partials[-1] == Partial(value["value"], whole=True)


@given(written(objects), written(objects))
def test_step_begins_another_value(one: tuple[Any, list[list[str]]], two: tuple[Any, list[list[str]]]) -> None:
    partials, ending = partials_of(ANY_OBJECT, [*deltas(one[1]), [Step(2)], *deltas(two[1])])
    assert ending.status == "completed"
    assert partials[-1] == Partial(two[0], whole=True)


@given(st.text(st.characters(codec="utf-8")))
def test_text_that_is_no_json_has_no_whole_partial(text: str) -> None:
    partials, ending = partials_of(ANY_OBJECT, [[Delta(letter)] for letter in text])
    try:
        is_object = isinstance(json.loads(text), dict)
    except ValueError:
        is_object = False
    assert (ending.failure is None) == is_object
    assert any(partial.whole for partial in partials) == is_object


@given(st.lists(st.integers(0, 9), min_size=200, max_size=2000), st.integers(1, 4))
def test_sum_of_the_partials_is_linear(digits: list[int], size: int) -> None:
    text = json.dumps({"digits": "".join(map(str, digits))})
    partials, _ = partials_of(ANY_OBJECT, [[Delta(text[at : at + size])] for at in range(0, len(text), size)])
    assert sum(len(json.dumps(partial.value)) for partial in partials) < 10.5 * len(text)
