"""What a body is, its first bytes tell: the same payloads at any split of the bytes."""

from __future__ import annotations

import pytest

from llm_stream.errors import UpstreamGarbled
from llm_stream.upstream import payloads
from llm_stream.upstream.payloads import PAGE
from llm_stream.upstream.payloads import Payloads

PRETTY = b'{\n  "choices": [\n\n    {"text": "a\\nb"}\n  ]\n}'

BODIES = {
    "event stream": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "event stream after blank lines": (b'\r\n\n\ndata: {"a":1}\n\n', [b'{"a":1}']),
    "event stream after comments": (b': wait\n\n:\r\n\r\n: {"no":1}\n\ndata: {"a":1}\n\n', [b'{"a":1}']),
    "event stream with a byte order mark": (b'\xef\xbb\xbfdata: {"a":1}\n\n', [b'{"a":1}']),
    "event stream of other fields first": (b'event: x\nid: 1\ndata: {"a":1}\n\n', [b'{"a":1}']),
    "event stream without a last blank line": (b'data: {"a":1}', [b'{"a":1}']),
    "event stream with lone carriage returns": (b'data: {"a":1}\r\rdata: {"b":2}\r\r', [b'{"a":1}', b'{"b":2}']),
    "JSON": (b'{"a":1}', [b'{"a":1}']),
    "JSON and a line end": (b'{"a":1}\r\n', [b'{"a":1}']),
    "JSON after a byte order mark and blank lines": (b'\xef\xbb\xbf\r\n \t\n{"a":1}', [b'{"a":1}']),
    "JSON after comments": (b': OPENROUTER PROCESSING\n\n: again\n\n{"a":1}', [b'{"a":1}']),
    "JSON in many lines": (PRETTY, [PRETTY]),
    "JSON in many lines and a line end": (PRETTY + b"\n\n", [PRETTY + b"\n\n"]),
    "JSON array": (b'[{"a":1}\n]\n', [b'[{"a":1}\n]\n']),
    "JSON with half a pair": (b'{"a":"\\ud83e"}\n{"b":2}\n', [b'{"a":"\\ud83e"}', b'{"b":2}']),
    "JSON and [DONE] behind it": (b'{"a":1}\n\ndata: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "JSON and [DONE] glued to it": (b'{"a":1}data: [DONE]\n\n', [b'{"a":1}', b"[DONE]"]),
    "JSON in many lines and [DONE]": (PRETTY + b"\ndata: [DONE]\n\n", [PRETTY, b"[DONE]"]),
    "JSON lines": (b'{"a":1}\n{"b":2}\r\n\n{"c":3}', [b'{"a":1}', b'{"b":2}', b'{"c":3}']),
    "JSON lines with fields and comments": (b'{"a":1}\n: ping\n\ndata: {"b":2}\n', [b'{"a":1}', b'{"b":2}']),
    "JSON values behind one another": (b'{"a":1}{"b":2}\n{\n"c":3}', [b'{"a":1}', b'{"b":2}', b'\n{\n"c":3}']),
    "JSON that is cut": (b'{"a":', [b'{"a":']),
    "HTML": (b"\n<!DOCTYPE html><p>Sign in</p>", [PAGE]),
    "nothing": (b"", []),
    "nothing but blanks": (b"\n \r\n", []),
    "nothing but a comment": (b": ping", []),
    "half a byte order mark": (b"\xef\xbb", []),
    "text": (b"upstream connect error", []),
}


def read(pieces: list[bytes]) -> list[bytes]:
    body = Payloads()
    return [payload for piece in pieces for payload in body.feed(piece)] + body.end()


@pytest.mark.parametrize("kind", BODIES)
def test_body_is_what_its_first_bytes_are_at_every_split(kind: str) -> None:
    body, expected = BODIES[kind]
    once = 1 if kind == "HTML" else None  # it is refused at its first byte
    assert read([body])[:once] == expected
    assert read([body[at : at + 1] for at in range(len(body))])[:once] == expected
    for at in range(len(body)):
        assert read([body[:at], body[at:]])[:once] == expected


@pytest.mark.parametrize(("first", "second"), [(b'data: {"a":1}\n\n', b"data: "), (b'{"a":1}\n', b'{"b"')])
def test_payload_is_given_as_soon_as_it_is_whole(first: bytes, second: bytes) -> None:
    body = Payloads()
    assert body.feed(first + second) == [b'{"a":1}']


@pytest.mark.parametrize("opening", [b"data: ", b"{", b"{\n"])
def test_payload_without_an_end_is_refused(opening: bytes) -> None:
    body = Payloads()
    body.feed(opening)
    with pytest.raises(UpstreamGarbled):
        for _ in range(100):
            body.feed(b" " * (payloads.MAX_EVENT_BYTES // 50))


@pytest.mark.parametrize("opening", [b": ", b"\n"])
def test_silence_before_an_answer_is_not_kept(opening: bytes) -> None:
    body = Payloads()
    for _ in range(100):
        assert body.feed(opening + b" " * (payloads.MAX_EVENT_BYTES // 50)) == []
    assert body.feed(b'\n{"a":1}\n') == [b'{"a":1}']
