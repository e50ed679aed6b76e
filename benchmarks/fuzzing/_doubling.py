"""Doubles bodies of awkward shapes: the work of decoding a body must grow only linearly."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable
from typing import Any

from tests.decoding import APIS
from tests.decoding import outcome

READ = 64
ROUNDS = 3
MOST = 3.0
"""The allowed growth of the work when the length doubles. 2 is expected, but time measurements are not exact."""
SMALL = 2000


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value).encode() + b"\n\n"


def delta(**fields: Any) -> bytes:
    return event({"model": "m", "choices": [{"index": 0, "delta": fields}]})


CALL = {"index": 0, "function": {"name": "f", "arguments": '{"a":1}'}}
DETAIL = {"type": "reasoning.text", "text": "x", "index": 0}
MESSAGE = event({"choices": [{"message": {"content": "a"}}]})
FINISHED = event({"choices": [{"delta": {"reasoning": "some"}, "finish_reason": "stop"}]})
TEXT = event({"type": "response.output_text.delta", "delta": "ab"})
TEXT_DONE = event({"type": "response.output_text.done", "text": "ab"})

SHAPES: dict[str, tuple[int, Callable[[int], bytes]]] = {
    "lines of one event": (0, lambda count: b"data: 1\n" * 10 * count),
    "comments": (0, lambda count: delta(content="a") + b": x\n" * 10 * count),
    "comments at the start": (0, lambda count: b": x\n" * 10 * count),
    "carriage returns": (0, lambda count: delta(content="a") + b"\r" * 50 * count),
    "JSON values": (0, lambda count: b'{"a":1}' * 5 * count),
    "lines of JSON": (0, lambda count: b'{"a":1}\n' * 5 * count),
    "JSON of many lines": (0, lambda count: b"{\n" + b'"a":1,\n' * 10 * count),
    "deltas and messages in turns": (0, lambda count: (delta(content="a") + MESSAGE) * count),
    "a call with its name again and again": (0, lambda count: delta(tool_calls=[CALL]) * count),
    "reasoning in details": (0, lambda count: delta(reasoning_details=[DETAIL]) * count),
    "reasoning after the end": (0, lambda count: FINISHED * count),
    "texts of a response": (1, lambda count: (TEXT + TEXT_DONE) * count),
}


def slow_shapes() -> list[str]:
    return [name for name, (api, make) in SHAPES.items() if _growth(api, make) > MOST]


def _growth(api: int, make: Callable[[int], bytes]) -> float:
    small, large = (min(_seconds(api, make(count)) for _ in range(ROUNDS)) for count in (SMALL, 2 * SMALL))
    return large / small


def _seconds(api: int, body: bytes) -> float:
    """The work in this thread's CPU time."""
    pieces = [body[at : at + READ] for at in range(0, len(body), READ)]
    gc.collect()
    begun = time.thread_time()
    outcome(APIS[api], [], pieces)
    return time.thread_time() - begun
