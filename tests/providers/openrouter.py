"""OpenRouter. https://openrouter.ai/docs/api-reference/streaming

Comments while it waits for the model; an error is a chunk with a choice; the last chunk has the figures and the cost.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import Payload
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://openrouter.ai/docs/api-reference/streaming"
ERRORS = "https://openrouter.ai/docs/api/reference/errors-and-debugging"
REASONING = "https://openrouter.ai/docs/use-cases/reasoning-tokens"
USAGE = "https://openrouter.ai/docs/use-cases/usage-accounting"
CASSETTES = "https://github.com/pydantic/pydantic-ai/tree/main/tests/models/cassettes/test_openrouter/"

PING = b": OPENROUTER PROCESSING\n\n"


def chunk(delta: dict[str, Any], reason: str | None = None, native: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"role": "assistant", "content": ""} | delta, "finish_reason": reason}
    return {
        "id": "gen-1762141316-q3fB64DDMstJO0ZakdSK",
        "provider": "OpenAI",
        "model": "openai/o3",
        "object": "chat.completion.chunk",
        "created": 1762141317,
        "choices": [choice | {"native_finish_reason": native or reason, "logprobs": None}],
    } | more


def figures(read: int, written: int, cost: float, cached: int = 0, thought: int = 0) -> dict[str, Any]:
    costs = {"upstream_inference_prompt_cost": 0, "upstream_inference_completions_cost": cost}
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": read + written,
        "cost": cost,
        "is_byok": False,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "cost_details": {"upstream_inference_cost": None} | costs,
        "completion_tokens_details": {"reasoning_tokens": thought, "image_tokens": 0},
    }


def used(*counts: Any) -> dict[str, Any]:
    return chunk({}, usage=figures(*counts))


def error(code: int | str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": WORDS} | more}


def thinking(text: str) -> dict[str, Any]:
    return chunk({"reasoning": text, "reasoning_details": [text_detail(text)]})


def text_detail(text: str, **more: Any) -> dict[str, Any]:
    return {"type": "reasoning.text", "text": text, "index": 0, "format": None} | more


ENCRYPTED = {
    "type": "reasoning.encrypted",
    "data": "gAAAAABpCCSIBxdevbk",
    "id": "rs_0aa4f2c435e6d1dc",
    "format": "openai-responses-v1",
    "index": 0,
}
SAID: list[Payload] = [
    PING,
    PING,
    chunk({}),
    PING,
    chunk({"content": "The capital"}),
    chunk({"content": " is London."}),
]

FORMS = {
    "text": Form(
        source=CASSETTES,
        headers={"X-Generation-Id": "gen-1762141316-q3fB64DDMstJO0ZakdSK"},
        body=sse(*SAID, chunk({}, "stop", "completed"), used(9, 104, 0.00085)),
        text="The capital is London.",
        tokens=(9, 104),
        cached=0,
        cost="0.00085",
    ),
    "reasoning": Form(
        source=REASONING,
        body=sse(
            PING,
            thinking("We need"),
            thinking(" a city."),
            chunk({"content": "London."}),
            chunk({}, "stop"),
            used(43, 12, 0.0001, 0, 8),
        ),
        reasoning="We need a city.",
        text="London.",
        opaque={"reasoning_details": [text_detail("We need a city.")]},
        tokens=(43, 12),
        thought=8,
        cost="0.0001",
    ),
    "reasoning that is encrypted": Form(
        source=CASSETTES,
        body=sse(
            chunk({"reasoning": None, "reasoning_details": [ENCRYPTED]}),
            chunk({"content": "London."}),
            chunk({}, "stop", "completed"),
            used(9, 40, 0.0003, 0, 32),
        ),
        text="London.",
        opaque={"reasoning_details": [ENCRYPTED]},
        tokens=(9, 40),
        thought=32,
        cost="0.0003",
    ),
    "tool call": Form(
        source="https://openrouter.ai/docs/features/tool-calling",
        body=sse(
            PING,
            chunk(
                {
                    "content": None,
                    "tool_calls": [
                        {
                            "index": 0,
                            "id": "toolu_01",
                            "type": "function",
                            "function": {"name": "get_capital", "arguments": ""},
                        }
                    ],
                }
            ),
            chunk({"content": None, "tool_calls": [{"index": 0, "function": {"arguments": '{"country":"UK"}'}}]}),
            chunk({}, "tool_calls", "tool_use"),
            used(60, 20, 0.0005),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(60, 20),
        cost="0.0005",
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:5], chunk({}, "length", "max_output_tokens"), used(9, 2, 0.00002)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(9, 2),
        cost="0.00002",
    ),
    "length, and an error that says so": Form(
        source=CASSETTES,
        body=sse(
            PING,
            thinking("We need"),
            chunk({"reasoning": " to", "reasoning_details": [text_detail(" to")]}, "length"),
            chunk({"reasoning": None, "reasoning_details": []}, "length"),
            chunk({}, usage=figures(43, 10, 0, 0, 11), **error(400)),
        ),
        reasoning="We need to",
        opaque={"reasoning_details": [text_detail("We need to")]},
        ending="incomplete",
        finish_reason="length",
        tokens=(43, 10),
        thought=11,
        cost="0",
    ),
    "content filter": Form(
        source=STREAM,
        body=sse(*SAID[:5], chunk({}, "content_filter", "SAFETY"), used(9, 2, 0.00002)),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(9, 2),
        cost="0.00002",
    ),
    "400": refused(ERRORS, 400, "upstream_rejected", error(400)),
    "401": refused(ERRORS, 401, "upstream_refused", error(401)),
    "402": refused(ERRORS, 402, "upstream_refused", error(402)),
    "403 moderation": refused(
        ERRORS, 403, "upstream_refused", error(403, metadata={"reasons": ["violence"], "flagged_input": WORDS})
    ),
    "404": refused(CASSETTES, 404, "upstream_refused", error(404) | {"user_id": "user_2u7z"}),
    "429": refused(
        ERRORS,
        429,
        "upstream_throttled",
        error(429, metadata={"raw": WORDS, "provider_name": "Google"}),
        retryable=True,
        retry_after="4",
        headers={"Retry-After": "4", "X-RateLimit-Limit": "20", "X-RateLimit-Remaining": "0"},
    ),
    "502": refused(ERRORS, 502, "upstream_failed", error(502), retryable=True),
    "503": refused(
        ERRORS, 503, "upstream_failed", error(503), retryable=True, retry_after="9", headers={"Retry-After": "9"}
    ),
    "error in the stream": broken(
        STREAM,
        sse(*SAID[:5], chunk({}, "error", **error("server_error")), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "error before the first token": broken(
        STREAM,
        sse(PING, chunk({}, "error", **error(429, metadata={"error_type": "rate_limit_exceeded"})), done=False),
        "upstream_throttled",
        retryable=True,
        usage="none",
    ),
    "cut": broken(STREAM, sse(*SAID[:5], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
}
