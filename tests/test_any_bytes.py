"""Whatever an upstream sends: the same events at every split, one named end, and work that grows with its bytes."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_stream.errors import UpstreamGarbled
from llm_stream.events import Delta
from llm_stream.upstream import payloads
from llm_stream.upstream.connection import MAX_INTERIM
from llm_stream.upstream.payloads import JSONText
from llm_stream.upstream.payloads import Splitter
from llm_stream.upstream.text import Said
from llm_stream.upstream.transport import PACKED_AT_ONCE
from llm_stream.upstream.transport import LeanTransport

from . import decoding
from . import transporting

BEGUN = b'data: {"model":"m","choices":[{"delta":{"content":"Hello"}}]}\n\n'
ENDED = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

words = st.sampled_from(
    [BEGUN, ENDED, b"\r", b"\n", b"\r\n", b"data: ", b"{", b"}", b"[", b'"', b":", b"\\ud800", b"<", b"0\r\n\r\n"]
)


@given(st.binary(min_size=2, max_size=2), st.lists(words | st.binary(max_size=20), max_size=30))
def test_any_bytes_end_by_a_name_and_the_same_at_every_split(choice: bytes, parts: list[bytes]) -> None:
    decoding.check(choice + b"".join(parts))


def calls_of(name: str, work: Callable[[], object]) -> int:
    """How often functions of this name, written in C, are called."""
    count = 0

    def profile(_: Any, event: str, function: Any) -> None:
        nonlocal count
        count += event == "c_call" and function.__name__ == name

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def test_event_of_many_lines_is_split_once_however_many_pieces_it_comes_in() -> None:
    splitter = Splitter()
    pieces = [b"data: 1\n"] * 2000 + [b"\n"]
    # once for the event, and once for its lines
    assert calls_of("split", lambda: [splitter.feed(piece) for piece in pieces]) == 2


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
def test_what_comes_before_a_too_large_event_counts_at_every_split(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(payloads, "MAX_EVENT_BYTES", 50)
    body = b"data: first\n\ndata: second\n\ndata: " + b"x" * 200 + b"\n\ndata: late\n\n"
    splitter, found = Splitter(), list[bytes]()
    with pytest.raises(UpstreamGarbled):
        for at in range(0, len(body), size):
            found += splitter.feed(body[at : at + size])
        found += splitter.end()
    assert found == [b"first", b"second"]
    lines = JSONText()
    assert lines.feed(b"{}\n[" + b"1," * 40 + b"1]\n{}\n") == [b"{}"]
    with pytest.raises(UpstreamGarbled):
        lines.end()


def test_pieces_of_a_text_are_joined_once() -> None:
    said = Said(["a"] * 1000)
    assert said.joined() == "a" * 1000 and len(said) == 1
    assert said.missing_from("a" * 1001) == "a"
    assert Said().joined() == "" and not Said()


def test_text_before_a_broken_chunk_counts() -> None:
    chunked = b"%x\r\n%b\r\nnot a size\r\n" % (len(BEGUN), BEGUN)
    events, end = decoding.outcome(decoding.APIS[0], decoding.FRAMINGS[1], [chunked])
    assert (events, end) == ([Delta("Hello")], "BrokenOff")


def test_nesting_without_end_garbles_an_answer_and_keeps_what_came_before() -> None:
    deep = b'data: {"x":' + b"[" * 100_000 + b"\n\n"
    events, end = decoding.outcome(decoding.APIS[0], [], [BEGUN + deep])
    assert (events, end) == ([Delta("Hello")], "UpstreamGarbled")


@pytest.mark.parametrize("url", ["https://[", "https://[::1", "https://\ud800.png", "data:image/\ud800;base64,"])
def test_image_with_an_odd_address_breaks_no_answer(url: str) -> None:
    chunk = {"choices": [{"delta": {"images": [{"image_url": {"url": url}}]}}]}
    body = BEGUN + b"data: " + json.dumps(chunk).encode() + b"\n\n" + ENDED
    events, end = decoding.outcome(decoding.APIS[0], [], [body])
    assert events[0] == Delta("Hello") and end == "completed stop"


@pytest.mark.parametrize("api", decoding.APIS, ids=["chat", "responses"])
def test_name_of_a_model_can_be_stored_whatever_it_is(api: Any) -> None:
    chat = b'data: {"model":"\\ud800","choices":[{"delta":{"content":"a"},"finish_reason":"stop"}]}\n\n'
    response = b'data: {"type":"response.completed","response":{"model":"\\ud800","output":[]}}\n\n'
    _, end = decoding.outcome(api, [], [chat if api is decoding.APIS[0] else response])
    assert end == "completed stop"


def test_informational_responses_without_end_are_an_error() -> None:
    answer = b"HTTP/1.1 200 OK\r\n\r\n" + BEGUN + ENDED
    with transporting.sending() as sender:
        few = b"HTTP/1.1 103 Early Hints\r\n\r\n" * MAX_INTERIM + answer
        assert transporting.outcome(sender, [few], "close")[1] == "completed stop"
        many = b"HTTP/1.1 103 Early Hints\r\n\r\n" * (MAX_INTERIM + 1) + answer
        assert transporting.outcome(sender, [many], "close") == ([], "UpstreamUnreachable")


@pytest.mark.parametrize("length", [b"9" * 5000, b"-1", b"1_0", b"+5", b"0x5"])
def test_content_length_that_is_none_is_an_error_of_the_upstream(length: bytes) -> None:
    with transporting.sending() as sender:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + BEGUN
        assert transporting.outcome(sender, [answer], "close") == ([], "UpstreamUnreachable")


def test_compressed_body_is_unpacked_in_short_pieces() -> None:
    packed = gzip.compress(b"\n" * 50_000_000)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    with transporting.sending() as sender:
        sender.pieces = [head + packed]
        with httpx2.Client(transport=LeanTransport()) as client, client.stream("POST", sender.url) as response:
            pieces = [len(piece) for piece in response.iter_bytes()]
    assert sum(pieces) == 50_000_000
    assert max(pieces) <= 1100 * PACKED_AT_ONCE
