"""Every wire: any answer decodes back to itself through an independent parser, at any split of the bytes."""

from __future__ import annotations

import json
from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.events import KINDS
from llm_stream.events import Event
from llm_stream.wire.native import NativeWire

from .sequences import STREAM_ID
from .sequences import batches
from .sequences import splits
from .sequences import well_formed_sequences
from .sequences import written


def messages(pieces: Iterable[bytes]) -> Iterable[tuple[str, str, str]]:
    """(id, event, data) of an event stream with nothing but LF in it: as plain a parser as there can be."""
    buffer, last_id = b"", ""
    for piece in pieces:
        buffer += piece
        *blocks, buffer = buffer.split(b"\n\n")
        for block in blocks:
            lines = [line for line in block.decode().split("\n") if line and not line.startswith(":")]
            fields = dict(line.split(": ", 1) for line in lines)
            last_id = fields.get("id", last_id)
            if "data" in fields:
                yield last_id, fields.get("event", "message"), fields["data"]
    assert not buffer, "the last event is not ended by a blank line"


@given(st.data(), well_formed_sequences())
def test_native_wire_decodes_back_to_itself(data: st.DataObject, events: list[Event]) -> None:
    body = written(NativeWire(), data.draw(batches(events)))
    read = list(messages(data.draw(splits(body))))
    assert [number for number, _, _ in read] == [f"{STREAM_ID}-{n}" for n in range(1, len(events) + 1)]
    assert [msgspec.convert(json.loads(payload), KINDS[kind]) for _, kind, payload in read] == events
