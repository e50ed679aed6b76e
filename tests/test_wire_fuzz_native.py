"""The native and the plain wire, through parsers that others have written, and one that is the specification."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

import httpx
import httpx2
import httpx_sse
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.events import KINDS
from llm_stream.events import Delta
from llm_stream.events import Done
from llm_stream.events import Event
from llm_stream.events import Failure
from llm_stream.events import Refusal
from llm_stream.events import Reset
from llm_stream.events import Start
from llm_stream.wire.native import NativeWire
from llm_stream.wire.sse import LINE_END
from llm_stream.wire.text import INTERRUPTED
from llm_stream.wire.text import STARTED_AGAIN
from llm_stream.wire.text import TextWire

from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written

Message = tuple[str, str, str]
"""Its last event id, type and data."""


def by_specification(pieces: Iterable[bytes]) -> Iterator[Message]:
    """https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation, line by line.

    Bytes are decoded as a whole, as the specification has it: where they are split is the concern of the others.
    """
    stream = b"".join(pieces).decode("utf-8", "replace").removeprefix("\ufeff")
    data = event_type = last_event_id_buffer = last_event_id = ""
    *lines, _ = LINE_END.split(stream)  # "once the end of the file is reached, any pending data must be discarded"
    for line in lines:
        if line == "":
            last_event_id = last_event_id_buffer
            if data == "":
                event_type = ""
                continue
            yield last_event_id, event_type or "message", data.removesuffix("\n")
            data = event_type = ""
        elif line.startswith(":"):
            continue
        else:
            field, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if field == "event":
                event_type = value
            elif field == "data":
                data += value + "\n"
            elif field == "id" and "\0" not in value:
                last_event_id_buffer = value


HEADERS = {"Content-Type": "text/event-stream; charset=utf-8"}


def by_httpx_sse(pieces: Iterable[bytes]) -> Iterator[Message]:
    response = httpx.Response(200, headers=HEADERS, content=iter(pieces))
    for event in httpx_sse.EventSource(response).iter_sse():
        if event.data:  # it makes an event of a heartbeat, too
            yield event.id, event.event or "message", event.data


def by_httpx2(pieces: Iterable[bytes]) -> Iterator[Message]:
    request = httpx2.Request("GET", "http://localhost")
    for event in httpx2.EventSource(httpx2.Response(200, headers=HEADERS, content=iter(pieces), request=request)):
        if event.data:
            yield event.id, event.event, event.data


PARSERS = [by_specification, by_httpx_sse, by_httpx2]


@pytest.mark.parametrize("parse", PARSERS)
@given(st.data(), well_formed_sequences(agents=True))
def test_native_wire_decodes_back_to_itself(parse: object, data: st.DataObject, events: list[Event]) -> None:
    assert callable(parse)
    body = written(NativeWire(), data.draw(batches(events)))
    read: list[Message] = list(parse(data.draw(splits(body))))
    assert [number for number, _, _ in read] == [f"{STREAM_ID}-{n}" for n in range(1, len(events) + 1)]
    assert [msgspec.json.decode(payload, type=KINDS[kind]) for _, kind, payload in read] == events


@given(st.data(), well_formed_sequences(agents=True))
def test_native_wire_goes_on_after_any_event(data: st.DataObject, events: list[Event]) -> None:
    """What was read before a connection was cut at any byte, and what comes after the last event of that, is all."""
    body = written(NativeWire(), [events])
    before = list(by_specification([body[: data.draw(st.integers(0, len(body)))]]))
    after = len(before)
    rest = b"".join((NativeWire().opening(), NativeWire().encode(STREAM_ID, after + 1, events[after:])))
    assert before + list(by_specification([rest])) == list(by_specification([body]))


sequences_of_line_ends = st.lists(st.sampled_from(["\r", "\n", "a", "\r\n", "\n\r"])).map(
    lambda texts: [Start(STREAM_ID, "m", 1), *map(Delta, texts), Done("completed")]
)
"""The plain wire has one kind of line end, and a CRLF may come in two events."""


def in_plain_words(events: list[Event]) -> str:
    """What the plain wire must say, all kinds of line end written as one."""
    said, has_text = "", False
    for event in events:
        if isinstance(event, (Delta, Refusal)):
            said += event.text
            has_text = has_text or bool(event.text)
        elif isinstance(event, (Reset, Failure)):
            words = INTERRUPTED if isinstance(event, Failure) else STARTED_AGAIN + "\n\n"
            said = LINE_END.sub("\n", said) + ("\n\n" if has_text else "") + words
    return LINE_END.sub("\n", said)


@pytest.mark.parametrize("parse", PARSERS)
@given(st.data(), well_formed_sequences(agents=True) | sequences_of_line_ends)
def test_plain_wire_is_the_text(parse: object, data: st.DataObject, events: list[Event]) -> None:
    assert callable(parse)
    body = written(TextWire(), data.draw(batches(events)))
    read: list[Message] = list(parse(data.draw(splits(body))))
    assert [kind for _, kind, _ in read] == ["message"] * len(read)
    assert read[-1][2] == "[DONE]"
    assert isinstance(events[-1], Done)
    assert read[-1][0] == f"{STREAM_ID}-{len(events)}"
    assert "".join(text for _, _, text in read[:-1]) == in_plain_words(events)
