"""The splitter: bytes of an event stream to the data of its events, at any split of the bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.errors import UpstreamGarbled
from llm_stream.upstream import payloads
from llm_stream.upstream.payloads import Splitter

# https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
SPEC_EXAMPLES = [
    (b"data: YHOO\ndata: +2\ndata: 10\n\n", [b"YHOO\n+2\n10"]),
    (b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
     [b"first event", b"second event", b" third event"]),
    (b"data:test\n\ndata: test\n\n", [b"test", b"test"]),
]  # fmt: skip

REAL = [
    (b'data: {"a":1}\r\n\r\ndata: [DONE]\r\n\r\n', [b'{"a":1}', b"[DONE]"]),
    (b'data: {"a":1}\r\rdata: 2\r\r', [b'{"a":1}', b"2"]),
    (b": OPENROUTER PROCESSING\n\ndata: x\n\n", [b"x"]),
    (b"\xef\xbb\xbfdata: x\n\n", [b"x"]),
    (b"event: message\nid: 7\nretry: 10\ndata: x\n\n", [b"x"]),
    (b'error: {"code":500}\n\n', [b'{"error":{"code":500}}']),
    (b"data: x\n\n\n\n\ndata: y\n\n", [b"x", b"y"]),
    (b"Data: x\n data: x\nda-ta: x\n\ndata: y\n\n", [b"y"]),
    ("data: é🧠\n\n".encode(), ["é🧠".encode()]),
    (b"data:\n\n", []),
]


def split(pieces: list[bytes]) -> list[bytes]:
    splitter = Splitter()
    return [data for piece in pieces for data in splitter.feed(piece)] + splitter.end()


@pytest.mark.parametrize(("stream", "expected"), SPEC_EXAMPLES + REAL)
def test_events_come_out_at_every_split(stream: bytes, expected: list[bytes]) -> None:
    assert split([stream]) == expected
    assert split([stream[at : at + 1] for at in range(len(stream))]) == expected
    for at in range(len(stream)):
        assert split([stream[:at], stream[at:]]) == expected


def test_last_event_counts_without_its_blank_line() -> None:
    assert split([b"data: x\n\ndata: y"]) == [b"x", b"y"]
    assert split([b"data: x\n\ndata: y\r"]) == [b"x", b"y"]


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), min_size=1), min_size=1),
    st.sampled_from([b"\n", b"\r\n", b"\r"]),
    st.data(),
)
def test_any_text_at_any_split(texts: list[str], line_end: bytes, data: st.DataObject) -> None:
    stream = b"".join(b"data: " + text.encode() + line_end * 2 for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)))))
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert split(pieces) == [text.encode() for text in texts]


def test_event_without_an_end_is_refused() -> None:
    splitter = Splitter()
    with pytest.raises(UpstreamGarbled):
        for _ in range(100):
            splitter.feed(b"x" * (payloads.MAX_EVENT_BYTES // 50))
