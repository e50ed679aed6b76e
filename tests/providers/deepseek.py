"""DeepSeek. https://api-docs.deepseek.com/api/create-chat-completion

Reasoning comes as `reasoning_content`. The figures are on the chunk with the finish_reason. Comments while it queues.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://api-docs.deepseek.com/api/create-chat-completion"
THINKING = "https://api-docs.deepseek.com/guides/thinking_mode"
ERRORS = "https://api-docs.deepseek.com/quick_start/error_codes"
QUEUE = "https://api-docs.deepseek.com/quick_start/rate_limit"
FIXTURES = "https://github.com/vercel/ai/tree/main/packages/deepseek/src/chat/__fixtures__/"

PING = b": keep-alive\n\n"


def chunk(delta: dict[str, Any], reason: str | None = None, usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "6e77be01-935b-42f6-8b05-d6c763528589",
        "object": "chat.completion.chunk",
        "created": 1786782779,
        "model": "deepseek-v4-flash",
        "system_fingerprint": "a26a7955944dc5c60445bff77fac9c8e",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}],
        "usage": usage,
    }


def end(reason: str, read: int, written: int, cached: int = 0, thought: int = 0) -> dict[str, Any]:
    figures = {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": thought},
        "prompt_cache_hit_tokens": cached,
        "prompt_cache_miss_tokens": read - cached,
    }
    return chunk({"content": "", "reasoning_content": None}, reason, figures)


def thinking(text: str) -> dict[str, Any]:
    return chunk({"content": None, "reasoning_content": text})


def error(type: str, code: str = "invalid_request_error") -> dict[str, Any]:
    return {"error": {"message": WORDS, "type": type, "param": None, "code": code}}


THOUGHT = [
    chunk({"role": "assistant", "content": None, "reasoning_content": ""}),
    thinking("The user"),
    thinking(" asks."),
]
SAID = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": "The capital"}),
    chunk({"content": " is London."}),
]

FORMS = {
    "text": Form(
        source=QUEUE,
        body=sse(PING, PING, *SAID, end("stop", 374, 7, 256)),
        text="The capital is London.",
        tokens=(374, 7),
        cached=256,
    ),
    "reasoning": Form(
        source=THINKING,
        body=sse(*THOUGHT, chunk({"content": "London.", "reasoning_content": None}), end("stop", 88, 21, 0, 17)),
        reasoning="The user asks.",
        text="London.",
        tokens=(88, 21),
        cached=0,
        thought=17,
    ),
    "tool call": Form(
        source=FIXTURES,
        body=sse(
            *THOUGHT,
            chunk(
                {
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_00_IhCAliIHtM9gKpgfqbBV9873",
                            "type": "function",
                            "function": {"name": "get_capital", "arguments": ""},
                        }
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"country"'}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": ': "UK"}'}}]}),
            end("tool_calls", 374, 61, 256, 17),
        ),
        reasoning="The user asks.",
        calls=(("get_capital", '{"country": "UK"}'),),
        finish_reason="tool_calls",
        tokens=(374, 61),
        cached=256,
        thought=17,
    ),
    "length": Form(
        source=FIXTURES,
        body=sse(*SAID[:2], end("length", 88, 4, 0, 0)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(88, 4),
    ),
    "content filter": Form(
        source=STREAM,
        body=sse(*SAID[:2], end("content_filter", 88, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(88, 2),
    ),
    "400": refused(ERRORS, 400, "upstream_rejected", error("invalid_request_error")),
    "401": refused(ERRORS, 401, "upstream_refused", error("authentication_error")),
    "402": refused(ERRORS, 402, "upstream_refused", error("unknown_error")),
    "422": refused(ERRORS, 422, "upstream_rejected", error("invalid_request_error")),
    "429": refused(ERRORS, 429, "upstream_throttled", error("rate_limit_error", "rate_limit_reached"), retryable=True),
    "500": refused(ERRORS, 500, "upstream_failed", error("server_error", "internal_error"), retryable=True),
    "503": refused(ERRORS, 503, "upstream_failed", error("service_unavailable_error", "overloaded"), retryable=True),
    "error in the stream": broken(
        ERRORS,
        sse(*SAID[:2], error("server_error", "internal_error"), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "resources ran out": broken(
        STREAM,
        sse(*SAID[:2], end("insufficient_system_resource", 88, 2)),
        "upstream_failed",
        retryable=True,
        usage="partial",
        text="The capital",
        tokens=(88, 2),
    ),
    "queued until it is closed": broken(
        QUEUE, sse(PING, PING, done=False), "upstream_cut", retryable=True, is_cut=True, usage="estimated"
    ),
    "cut": broken(STREAM, sse(*SAID[:2], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
    "no usage": Form(
        source=STREAM, body=sse(*SAID, chunk({}, "stop")), text="The capital is London.", usage="estimated"
    ),
}
