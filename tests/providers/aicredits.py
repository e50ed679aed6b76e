"""AICredits. https://aicredits.in/docs/api-reference

It translates every provider into OpenAI's form. Its errors have a number as their code, which is their status.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://aicredits.in/docs/streaming"
REFERENCE = "https://aicredits.in/docs/api-reference"
ERRORS = "https://aicredits.in/docs/errors"
LIMITS = "https://aicredits.in/docs/rate-limits"

HEADERS = {"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "42", "X-RateLimit-Reset": "35"}


def frame(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-8f4c",
        "object": "chat.completion.chunk",
        "created": 1795338921,
        "model": "openai/gpt-4o-mini",
        "choices": choices,
    } | more


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return frame([{"index": 0, "delta": delta, "finish_reason": reason}])


def used(read: int, written: int) -> dict[str, Any]:
    return frame([], usage={"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written})


def error(type: str, code: int) -> dict[str, Any]:
    return {"error": {"message": WORDS, "type": type, "code": code}}


SAID = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "The capital"}),
    chunk({"content": " is London."}),
]

FORMS = {
    "text": Form(
        source=STREAM,
        headers=HEADERS,
        body=sse(*SAID, chunk({}, "stop"), used(14, 6)),
        text="The capital is London.",
        tokens=(14, 6),
    ),
    "tool call": Form(
        source=REFERENCE,
        body=sse(
            SAID[0],
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "get_capital", "arguments": '{"country":"UK"}'},
                        }
                    ]
                }
            ),
            chunk({}, "tool_calls"),
            used(60, 15),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(60, 15),
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:2], chunk({}, "length"), used(14, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(14, 2),
    ),
    "400": refused(ERRORS, 400, "upstream_rejected", error("invalid_request_error", 400)),
    "401": refused(ERRORS, 401, "upstream_refused", error("authentication_error", 401)),
    "402": refused(ERRORS, 402, "upstream_refused", error("insufficient_funds", 402)),
    "403": refused(ERRORS, 403, "upstream_refused", error("forbidden", 403)),
    "413": refused(ERRORS, 413, "context_too_long", error("request_too_large", 413)),
    "429": refused(
        LIMITS,
        429,
        "upstream_throttled",
        error("rate_limit_error", 429),
        retryable=True,
        headers=HEADERS | {"X-RateLimit-Remaining": "0"},
    ),
    "500": refused(ERRORS, 500, "upstream_failed", error("internal_server_error", 500), retryable=True),
    "502": refused(ERRORS, 502, "upstream_failed", error("upstream_error", 502), retryable=True),
    "503 no such model": refused(ERRORS, 503, "upstream_failed", error("service_unavailable", 503), retryable=True),
    "504": refused(ERRORS, 504, "upstream_failed", error("gateway_timeout", 504), retryable=True),
    "error in the stream": broken(
        ERRORS,
        sse(*SAID[:2], error("upstream_error", 502), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "cut": broken(STREAM, sse(*SAID[:2], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
    "no usage": Form(
        source=STREAM, body=sse(*SAID, chunk({}, "stop")), text="The capital is London.", usage="estimated"
    ),
}
