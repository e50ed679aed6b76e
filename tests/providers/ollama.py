"""Ollama. https://docs.ollama.com/api/openai-compatibility

Every delta has the role. An error in the middle is lost in the translation: an empty chunk, and then the end.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

DOCS = "https://docs.ollama.com/api/openai-compatibility"
CHUNKS = "https://github.com/ollama/ollama/blob/main/openai/openai.go"
WRITER = "https://github.com/ollama/ollama/blob/main/middleware/openai.go"
ERRORS = "https://docs.ollama.com/api/errors"


def frame(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-86",
        "object": "chat.completion.chunk",
        "created": 1743277352,
        "model": "qwen3:0.6b",
        "system_fingerprint": "fp_ollama",
        "choices": choices,
    } | more


def chunk(content: str = "", reason: str | None = None, **more: Any) -> dict[str, Any]:
    return frame([{"index": 0, "delta": {"role": "assistant", "content": content} | more, "finish_reason": reason}])


def used(read: int, written: int) -> dict[str, Any]:
    return frame([], usage={"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written})


def error(type: str) -> dict[str, Any]:
    return {"error": {"message": WORDS, "type": type, "param": None, "code": None}}


SAID = [chunk("The capital"), chunk(" is London.")]

FORMS = {
    "text": Form(
        source=CHUNKS,
        body=sse(*SAID, chunk("", "stop"), used(26, 6)),
        text="The capital is London.",
        tokens=(26, 6),
    ),
    "reasoning": Form(
        source=CHUNKS,
        body=sse(
            chunk(reasoning="Which"),
            chunk(reasoning=" city?"),
            chunk("London."),
            chunk("", "stop"),
            used(26, 9),
        ),
        reasoning="Which city?",
        text="London.",
        tokens=(26, 9),
    ),
    "tool call": Form(
        source=CHUNKS,
        body=sse(
            chunk(
                tool_calls=[
                    {
                        "id": "call_8qk3v7ld",
                        "index": 0,
                        "type": "function",
                        "function": {"name": "get_capital", "arguments": '{"country":"UK"}'},
                    }
                ]
            ),
            chunk("", "tool_calls"),
            used(150, 20),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(150, 20),
    ),
    "length": Form(
        source=CHUNKS,
        body=sse(*SAID[:1], chunk("", "length"), used(26, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(26, 2),
    ),
    "400": refused(WRITER, 400, "upstream_rejected", error("invalid_request_error")),
    "401 cloud": refused(ERRORS, 401, "upstream_refused", error("api_error")),
    "404": refused(WRITER, 404, "upstream_refused", error("not_found_error")),
    "429 cloud": refused(ERRORS, 429, "upstream_throttled", error("api_error"), retryable=True),
    "500": refused(WRITER, 500, "upstream_failed", error("api_error"), retryable=True),
    "503 queue is full": refused(WRITER, 503, "upstream_failed", error("api_error"), retryable=True),
    "error in the stream": broken(
        WRITER, sse(*SAID[:1], chunk(""), done=False), "upstream_cut", retryable=True, text="The capital"
    ),
    "cut": broken(CHUNKS, sse(*SAID[:1], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(CHUNKS, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
    "no usage": Form(source=DOCS, body=sse(*SAID, chunk("", "stop")), text="The capital is London.", usage="estimated"),
}
