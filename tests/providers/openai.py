"""OpenAI. https://platform.openai.com/docs/api-reference/chat-streaming"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://platform.openai.com/docs/api-reference/chat-streaming"
CODES = "https://platform.openai.com/docs/guides/error-codes"
LIMITS = "https://platform.openai.com/docs/guides/rate-limits"
RECORDED = (
    "https://github.com/pydantic/pydantic-ai/blob/main/tests/models/cassettes/test_openai/"
    "test_run_stream_sync_streams_real_model.yaml"
)


def frame(choices: list[dict[str, Any]], usage: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-Dx0XpqH8w09uBXwq1zFGYdETjtnEl",
        "object": "chat.completion.chunk",
        "created": 1782955817,
        "model": "gpt-4o-mini-2024-07-18",
        "service_tier": "default",
        "system_fingerprint": "fp_d0469e1700",
        "choices": choices,
        "usage": usage,
        "obfuscation": "C63r",
    }


def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return frame([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}])


def used(read: int, written: int, cached: int = 0, thought: int = 0) -> dict[str, Any]:
    details = {"reasoning_tokens": thought, "audio_tokens": 0, "accepted_prediction_tokens": 0}
    return frame(
        [],
        {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
            "completion_tokens_details": details | {"rejected_prediction_tokens": 0},
        },
    )


def error(type: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": WORDS, "type": type, "param": param, "code": code}}


def call(**fragment: Any) -> dict[str, Any]:
    return chunk({"tool_calls": [{"index": 0} | fragment]})


BEGIN = chunk({"role": "assistant", "content": "", "refusal": None})
SAID = [BEGIN, chunk({"content": "The capital"}), chunk({"content": " is London."})]

FORMS = {
    "text": Form(
        source=RECORDED,
        body=sse(*SAID, chunk({}, "stop"), used(78, 9)),
        text="The capital is London.",
        tokens=(78, 9),
        cached=0,
        thought=0,
    ),
    "reasoning that is only counted": Form(
        source="https://platform.openai.com/docs/guides/reasoning",
        body=sse(*SAID, chunk({}, "stop"), used(78, 309, 64, 300)),
        text="The capital is London.",
        tokens=(78, 309),
        cached=64,
        thought=300,
    ),
    "tool call": Form(
        source=RECORDED,
        body=sse(
            chunk(
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "call_ZR5UUuTt3pf61kjwAJIYdVMj",
                            "type": "function",
                            "function": {"name": "get_capital", "arguments": ""},
                        }
                    ],
                    "refusal": None,
                }
            ),
            call(function={"arguments": '{"'}),
            call(function={"arguments": 'country":"UK"}'}),
            chunk({}, "tool_calls"),
            used(53, 15),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(53, 15),
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:2], chunk({}, "length"), used(78, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(78, 2),
    ),
    "content filter": Form(
        source=STREAM,
        body=sse(*SAID[:2], chunk({}, "content_filter"), used(78, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(78, 2),
    ),
    "400": refused(CODES, 400, "upstream_rejected", error("invalid_request_error", None, "messages")),
    "400 context too long": refused(
        CODES, 400, "context_too_long", error("invalid_request_error", "context_length_exceeded", "messages")
    ),
    "401": refused(CODES, 401, "upstream_refused", error("invalid_request_error", "invalid_api_key")),
    "404": refused(CODES, 404, "upstream_refused", error("invalid_request_error", "model_not_found")),
    "429": refused(
        LIMITS,
        429,
        "upstream_throttled",
        error("requests", "rate_limit_exceeded"),
        retryable=True,
        retry_after="6",
        headers={"retry-after": "6", "retry-after-ms": "6000", "x-ratelimit-reset-requests": "6s"},
    ),
    "429 no credit": refused(CODES, 429, "upstream_refused", error("insufficient_quota", "insufficient_quota")),
    "500": refused(CODES, 500, "upstream_failed", error("server_error", None), retryable=True),
    "error in the stream": broken(
        STREAM,
        sse(*SAID[:2], error("server_error", None), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "cut": broken(STREAM, sse(*SAID[:2], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
    "no usage": Form(
        source=STREAM,
        body=sse(*SAID, chunk({}, "stop")),
        text="The capital is London.",
        usage="estimated",
    ),
}
