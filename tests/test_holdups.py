"""No request holds other streams up: what takes long is bounded, cut into pieces, or done in a thread.

`benchmarks/holdups.py` measures how long others wait. Here is what keeps that short.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask
from hypothesis import given
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.core.reader import MOST_AT_ONCE
from llm_stream.events import Delta
from llm_stream.events import Event
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import ToolCall
from llm_stream.testing import Upstream
from llm_stream.upstream.transport import MAX_ERROR_BYTES
from llm_stream.usage import estimate
from llm_stream.usage import tokenizer
from llm_stream.wire.answer import text_of
from llm_stream.wire.answer import tool_calls_of
from llm_stream.wire.merged import merged
from llm_stream.wire.turn import answer_of
from llm_stream.wire.turn import turn_of

from .conftest import SOON_S
from .sequences import well_formed_sequences

MakeApp = Callable[..., Flask]

ERROR_BYTES = 20_000_000

COUNTS_UNDER_GEVENT = """
from gevent import monkey
monkey.patch_all()
import json
from llm_stream.usage import estimate, tokenizer

native = monkey.get_original("threading", "get_ident")
pieces = []

def count(text):
    pieces.append((native(), len(text)))
    return len(text)

tokenizer.count = count
total = estimate.input_tokens([{"role": "user", "content": "-" * 100_000}])
print(json.dumps([total, native(), pieces]))
"""


def test_long_text_is_counted_in_pieces_and_off_the_event_loop() -> None:
    program = subprocess.run([sys.executable, "-c", COUNTS_UNDER_GEVENT], capture_output=True, text=True, check=True)
    total, loop, pieces = json.loads(program.stdout)
    assert total >= 100_000
    assert loop not in [thread for thread, _ in pieces]
    assert max(size for _, size in pieces) <= estimate.PIECE


@pytest.mark.parametrize("unit", ["some words ", "    ", "-", "漢字", "🧠", "a\n b"])
def test_pieces_are_all_of_a_text_and_have_about_as_many_tokens(unit: str) -> None:
    text = unit * 30_000
    pieces = list(estimate.pieces_of(text))
    assert "".join(pieces) == text and max(map(len, pieces)) <= estimate.PIECE
    assert abs(sum(map(tokenizer.count, pieces)) - tokenizer.count(text)) <= len(pieces)


@given(well_formed_sequences(agents=True))
def test_merged_events_say_the_same(events: list[Event]) -> None:
    assert turn_of(merged(events)) == turn_of(events)
    assert merged(merged(events)) == merged(events)
    for kind in (Delta, Reasoning, Refusal):
        assert text_of(merged(events), kind) == text_of(events, kind)
    assert tool_calls_of(merged(events)) == tool_calls_of(events)
    assert answer_of(merged(events)) == answer_of(events)


def test_answer_of_many_pieces_is_a_few_events_once_merged() -> None:
    call = ToolCall(0, "", "call_1", "look")
    events = [*[Delta("word ")] * 1000, call, *[ToolCall(0, "1")] * 1000, *[ToolCall(1, "2")] * 10]
    assert merged(events) == [Delta("word " * 1000), call, ToolCall(0, "1" * 1000), ToolCall(1, "2" * 10)]


def test_reader_that_comes_late_gets_the_log_in_slices(upstream: Upstream, make_app: MakeApp) -> None:
    client = make_app().test_client()
    upstream.answer(*["word "] * (3 * MOST_AT_ONCE))
    first = client.post("/llm/chat", json={"prompt": "hi"})
    whole = first.get_data()
    again = client.get(f"/llm/streams/{first.headers['x-llm-stream-id']}")
    pieces = list(again.iter_encoded())
    assert b"".join(pieces).count(b"event: delta") == whole.count(b"event: delta") == 3 * MOST_AT_ONCE
    assert max(piece.count(b"event: ") for piece in pieces) <= MOST_AT_ONCE


def test_long_error_of_the_upstream_is_not_read_to_its_end(upstream: Upstream, make_app: MakeApp) -> None:
    client = make_app(retries=0).test_client()
    for number in range(3):  # by the SDK, and then past it
        upstream.answer(status=503, body=b"x" * ERROR_BYTES)
        assert client.post("/llm/chat", json={"prompt": "hi"}).status_code == 502
        assert upstream.request(number).left.wait(SOON_S), "the connection is closed"
    assert MAX_ERROR_BYTES < ERROR_BYTES


def test_csv_is_written_a_few_rows_at_a_time(
    upstream: Upstream, make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm_stream.reports.export.LINES_AT_ONCE", 2)
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="none"))
    llm.authorize_usage(lambda: True)
    client = make_app(llm, ledger_url=f"sqlite:///{tmp_path}/usage.db").test_client()
    for _ in range(5):
        upstream.answer("Hello")
        assert client.get("/llm/chat?prompt=hi").data
    pieces = list(client.get("/llm/usage.csv").iter_encoded())
    assert [piece.count(b"\r\n") for piece in pieces] == [1, 2, 2, 1]
