"""llama.cpp's llama-server. https://github.com/ggml-org/llama.cpp/tree/master/tools/server

The forms of text, length and refusals were seen on a server that runs; the others are in its source.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse
from .form import to_json

SERVER = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
CHUNKS = "https://github.com/ggml-org/llama.cpp/tree/master/tools/server"
ERROR_LINE = "https://github.com/ggml-org/llama.cpp/pull/16109"

TIMINGS = {"cache_n": 32, "prompt_n": 1, "prompt_ms": 16.601, "predicted_n": 4, "predicted_per_second": 83.39240295}


def frame(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "choices": choices,
        "created": 1795655490,
        "id": "chatcmpl-Ialbq6WRUWqaMkQWC4xdXZK3eKLp3ZUW",
        "model": "smollm2",
        "system_fingerprint": "b1-571d0d5",
        "object": "chat.completion.chunk",
    } | more


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    return frame([{"finish_reason": reason, "index": 0, "delta": delta}], **more)


def used(read: int, written: int, cached: int) -> dict[str, Any]:
    counts = {"completion_tokens": written, "prompt_tokens": read, "total_tokens": read + written}
    return frame([], usage=counts | {"prompt_tokens_details": {"cached_tokens": cached}}, timings=TIMINGS)


def error(code: int, type: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": WORDS, "type": type} | more}


BEGIN = chunk({"role": "assistant", "content": None})
SAID = [BEGIN, chunk({"content": "The capital"}), chunk({"content": " is London."})]

FORMS = {
    "text": Form(
        source=SERVER,
        body=sse(*SAID, chunk({}, "stop"), used(33, 6, 32)),
        text="The capital is London.",
        tokens=(33, 6),
        cached=32,
    ),
    "text after comments": Form(
        source=SERVER,
        body=sse(b":\n\n", b":\n\n", *SAID, chunk({}, "stop"), used(33, 6, 0)),
        text="The capital is London.",
        tokens=(33, 6),
        cached=0,
    ),
    "reasoning": Form(
        source=SERVER,
        body=sse(
            BEGIN,
            chunk({"reasoning_content": "Which"}),
            chunk({"reasoning_content": " city?"}),
            chunk({"content": "London."}),
            chunk({}, "stop"),
            used(33, 9, 0),
        ),
        reasoning="Which city?",
        text="London.",
        tokens=(33, 9),
    ),
    "tool call": Form(
        source=SERVER,
        body=sse(
            BEGIN,
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "FmK0r8jPzS2T",
                            "type": "function",
                            "function": {"name": "get_capital", "arguments": "{"},
                        }
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"country":"UK"}'}}]}),
            chunk({}, "tool_calls"),
            used(190, 17, 0),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(190, 17),
    ),
    "length": Form(
        source=SERVER,
        body=sse(*SAID[:2], chunk({}, "length"), used(33, 2, 32)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(33, 2),
    ),
    "400": refused(CHUNKS, 400, "upstream_rejected", error(400, "invalid_request_error")),
    "400 context too long": refused(
        CHUNKS,
        400,
        "context_too_long",
        error(400, "exceed_context_size_error", n_prompt_tokens=9031, n_ctx=2048),
    ),
    "401": refused(CHUNKS, 401, "upstream_refused", error(401, "authentication_error")),
    "404": refused(CHUNKS, 404, "upstream_refused", error(404, "not_found_error")),
    "500": refused(CHUNKS, 500, "upstream_failed", error(500, "server_error"), retryable=True),
    "503 still loading": refused(CHUNKS, 503, "upstream_failed", error(503, "unavailable_error"), retryable=True),
    "error in the stream": broken(
        CHUNKS,
        sse(*SAID[:2], error(500, "server_error"), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "error in the stream of old versions": broken(
        ERROR_LINE,
        sse(*SAID[:2], b"error: " + to_json(error(500, "server_error")["error"]) + b"\n\n"),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "cut": broken(SERVER, sse(*SAID[:2], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(SERVER, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
    "no usage": Form(
        source=SERVER,
        body=sse(*SAID, chunk({}, "stop", timings=TIMINGS)),
        text="The capital is London.",
        usage="estimated",
    ),
}
