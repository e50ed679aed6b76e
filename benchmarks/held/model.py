"""The model that sends large answers. The model's name selects the answer."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from llm_stream.testing import Cut
from llm_stream.testing import Script
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing.responses import as_chat

TOKENS_AT_ONCE = 200
TOKEN = "word "
NAMES = [
    "short", "endless", "whole", "line", "dashes", "cut", "broken",
    "caller", "invoice", "gpt-4o-mini", "no-such-model-anywhere",
]  # fmt: skip


def frames(texts: list[str]) -> bytes:
    chunks = ({"model": "m", "choices": [{"index": 0, "delta": {"role": "assistant", "content": t}}]} for t in texts)
    return b"".join(b"data: " + json.dumps(chunk).encode() + b"\n\n" for chunk in chunks)


def tokens(count: int) -> Iterator[bytes]:
    for at in range(0, count, TOKENS_AT_ONCE):
        yield frames([TOKEN] * min(TOKENS_AT_ONCE, count - at))


def invoice(size: int) -> bytes:
    items: list[Any] = [{"name": f"item {n}", "price": 1.5 * n, "note": "words " * 10} for n in range(size // 110)]
    text = json.dumps({"number": 12, "items": items})
    return frames([text[at : at + 20] for at in range(0, len(text), 20)])


class Model:
    def __init__(self, size: int, log_tokens: int) -> None:
        self._size = size
        self._log_tokens = log_tokens

    def __call__(self, request: Any) -> Script:
        name, chat = request["model"], as_chat(request)
        if name == "endless":
            return Script([*tokens(self._log_tokens), Stall()])
        if name == "whole":
            return Script(tokens(self._log_tokens))
        if name == "line":
            return Script([frames(["words " * (self._size // 6)])])
        if name == "dashes":
            return Script([frames(["-" * self._size]), Stall()])
        if name == "cut":
            return Script(["ok", Cut()])
        if name == "broken":
            return Script([], status=500, body=b'{"error": "' + b"x" * (100 * self._size) + b'"}')
        if name == "caller" and chat["messages"][-1]["role"] != "tool":
            return self._call()
        if name == "invoice":
            return Script([invoice(self._size)])
        if name == "no-such-model-anywhere":
            return Script(["ok"], usage={"prompt_tokens": 5, "completion_tokens": 1})
        return Script(["ok"])

    def _call(self) -> Script:
        call = {"index": 0, "id": "call_1", "function": {"name": "echo", "arguments": ""}}
        steps: list[Any] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "tool_calls": [call]}}]}]
        text = json.dumps({"text": "words " * (self._size // 30)})
        for at in range(0, len(text), 1000):
            part = {"index": 0, "function": {"arguments": text[at : at + 1000]}}
            steps.append({"choices": [{"index": 0, "delta": {"tool_calls": [part]}}]})
        return Script(steps, finish_reason="tool_calls")


if __name__ == "__main__":
    with Upstream(Model(int(sys.argv[1]), int(sys.argv[2]))) as upstream:
        print(upstream.base_url, flush=True)
        sys.stdin.read()
