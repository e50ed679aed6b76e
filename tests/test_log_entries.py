"""What is written into the store comes out of it again: any events, in any batches, read in any pieces."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_stream.core.log.memory import LOST
from llm_stream.core.log.memory import MemoryLog
from llm_stream.core.shared import messages
from llm_stream.core.shared.entries import Account
from llm_stream.core.shared.entries import Call
from llm_stream.core.shared.entries import Header
from llm_stream.core.shared.entries import Kept
from llm_stream.core.shared.entries import add
from llm_stream.core.shared.entries import decode
from llm_stream.core.shared.entries import decode_account
from llm_stream.core.shared.entries import decode_header
from llm_stream.core.shared.entries import encode
from llm_stream.core.shared.entries import encode_struct
from llm_stream.core.shared.entries import events_of
from llm_stream.core.shared.entries import pieces_of
from llm_stream.events import KINDS
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import Opaque
from llm_stream.events import Partial
from llm_stream.events import Start
from llm_stream.events import ToolCall
from llm_stream.events import ToolResult
from llm_stream.events import Usage
from llm_stream.wire.native import NativeWire

TEXT = st.text()  # any Unicode but lone surrogates, which no wire can carry
AMOUNTS = st.decimals(min_value=0, max_value=10**12, places=12) | st.decimals(min_value=0, max_value=10**6)
WHOLE_NUMBERS = st.integers(-(2**53), 2**53)
JSON = st.recursive(
    st.none() | st.booleans() | WHOLE_NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
OBJECTS = st.dictionaries(TEXT, JSON, max_size=3)
COUNTS = st.integers(min_value=0, max_value=2**53) | st.none()


def _of(kind: type[Event]) -> st.SearchStrategy[Event]:
    if kind is Delta:
        return TEXT.map(Delta)
    if kind is Usage:
        return st.builds(Usage, *[COUNTS] * 4, cost=st.none() | AMOUNTS, currency=st.none() | TEXT)
    if kind is Failure:
        return st.builds(Failure, TEXT, TEXT, st.booleans(), TEXT, retry_after=st.none() | st.floats(0, 1e6))
    if kind is ToolCall:
        opaque = st.none() | OBJECTS
        return st.builds(ToolCall, st.integers(0, 9), TEXT, server=st.booleans(), opaque=opaque)
    if kind is ToolResult:
        results, errors = st.builds(ToolResult, TEXT, TEXT, JSON), st.builds(ToolResult, TEXT, TEXT, error=TEXT)
        return results | errors
    if kind is Data:
        return st.builds(Data, TEXT, JSON, st.none() | TEXT, st.booleans())
    if kind is Partial:
        return st.builds(Partial, JSON, st.booleans())
    if kind is Opaque:
        return st.builds(Opaque, OBJECTS, st.none() | TEXT)
    return st.from_type(kind)


EVENTS = st.one_of(*map(_of, KINDS.values()))
BATCHES = st.lists(st.lists(EVENTS.filter(lambda event: not isinstance(event, Done)), min_size=1), min_size=1)


@given(st.lists(EVENTS))
def test_events_come_out_as_they_went_in(events: list[Event]) -> None:
    assert decode(encode(events)) == events
    wire = NativeWire()
    assert wire.encode("s", 1, decode(encode(events))) == wire.encode("s", 1, events)


@given(st.lists(EVENTS), st.integers(min_value=1, max_value=2**53))
def test_pushed_events_arrive_as_they_were_sent(events: list[Event], first: int) -> None:
    push = messages.decode(messages.encode(messages.Push({"s": (first, pieces_of(events))})))
    assert isinstance(push, messages.Push)
    arrived, pieces = push.streams["s"]
    assert (arrived, events_of(pieces)) == (first, events)


def entries_of(batches: list[list[Event]]) -> list[tuple[bytes, dict[bytes, bytes]]]:
    entries, last = [], 0
    for batch in batches:
        last += len(batch)
        entries.append((b"%d-0" % last, {b"events": encode(batch)}))
    header = Header(owner="ann", worker="w", created=1.0)
    entries[0][1][b"header"] = encode_struct(header)
    return entries


@given(BATCHES)
def test_log_that_is_read_from_the_store_has_the_same_numbers(batches: list[list[Event]]) -> None:
    kept = Kept(entries_of(batches))
    log = MemoryLog()
    for batch in batches:
        log.append(batch)
    assert kept.events == log.events
    assert [log.at(first + n) for first, batch in kept.batches for n in range(len(batch))] == log.events


@given(BATCHES, st.data())
def test_log_that_is_filled_twice_and_in_pieces_has_every_event_once(batches: list[list[Event]], data: Any) -> None:
    """By pushes and from the store: what comes twice or overlaps is left out, what comes too early is refused."""
    events = [event for batch in batches for event in batch]
    log = MemoryLog()
    places = st.integers(min_value=0, max_value=len(events))
    for start, stop in data.draw(st.lists(st.tuples(places, places).map(sorted))):
        had = log.last
        assert add(log, start + 1, events[start:stop]) == (start <= had)
        assert log.last == (max(had, stop) if start <= had else had)
    assert add(log, 1, events)
    assert log.events == events


@given(BATCHES, st.data())
def test_end_of_a_lost_stream_is_taken_once_and_is_the_last(batches: list[list[Event]], data: Any) -> None:
    events = [event for batch in batches for event in batch]
    known = data.draw(st.integers(min_value=1, max_value=len(events)))
    end: list[Event] = [Usage(source="estimated"), Done("interrupted")]
    log = MemoryLog()
    add(log, 1, events[:known])
    assert add(log, LOST, end)
    assert add(log, LOST, end)
    assert log.ended
    assert log.events == [*events[:known], *end]
    for number in range(known, len(events) + 2):
        first, rest = log.after(number)
        assert (first, rest) == (LOST, end), "whoever has seen more than the store gets the end"


CALLS = st.builds(
    Call,
    model=st.none() | TEXT,
    input_tokens=COUNTS,
    max_output_tokens=COUNTS,
    base_url=st.none() | TEXT,
    accepted=st.booleans(),
    upstream_model=st.none() | TEXT,
    request_id=st.none() | TEXT,
    service_tier=st.none() | TEXT,
    figures=st.none() | _of(Usage),
    is_whole=st.booleans(),
    segment=st.integers(min_value=0, max_value=9),
)


@given(st.builds(Header, owner=TEXT, worker=TEXT, created=st.floats(0, 1e11), key=st.none() | TEXT, model=TEXT))
def test_header_comes_out_as_it_went_in(header: Header) -> None:
    assert decode_header(encode_struct(header)) == header


@given(st.lists(CALLS), st.none() | st.floats(0, 1e6), st.none() | TEXT)
def test_account_comes_out_as_it_went_in(calls: list[Call], ttft_s: float | None, currency: str | None) -> None:
    account = Account(calls, ttft_s, currency)
    assert decode_account(encode_struct(account)) == account
    for call in calls:
        assert Call.of(call.attempt(), call.input_tokens) == call


def test_costs_keep_their_digits() -> None:
    for cost in ("0.000000000001", "1E-12", "0.10", "123456789012345678901234567890.123456789012"):
        (usage,) = decode(encode([Usage(cost=Decimal(cost))]))
        assert isinstance(usage, Usage)
        assert str(usage.cost) == str(Decimal(cost))


def test_start_keeps_its_time() -> None:
    start = Start(id="s", model=None, created=2**33)
    assert decode(encode([start])) == [start]
