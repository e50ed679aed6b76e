"""Gemini's OpenAI-compatible endpoint. https://ai.google.dev/gemini-api/docs/openai

Usage on every chunk, a whole tool call in one chunk and without an index, errors in a list, thoughts in the content.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://ai.google.dev/gemini-api/docs/openai"
SIGNATURES = "https://ai.google.dev/gemini-api/docs/thought-signatures"
ERRORS = "https://ai.google.dev/gemini-api/docs/troubleshooting"
SEEN_ERROR = "https://github.com/n4ze3m/page-assist/issues/406"
SEEN_THOUGHTS = "https://github.com/coder/coder/tree/main/internal/googleopenai"
SEEN_CALL = "https://github.com/open-webui/computer/issues/224"
SEEN_FILTER = "https://github.com/HKUDS/Vibe-Trading/pull/308"
SEEN_COUNTS = "https://github.com/LianjiaTech/bella-openapi/pull/68"

SIGNED = {"google": {"thought_signature": "EjQKMgEMOdbHJChLX75QUCJjyYlm"}}


def chunk(
    delta: dict[str, Any], reason: str | None = None, counts: tuple[int, int, int] | None = (12, 5, 17)
) -> dict[str, Any]:
    """`counts` are prompt, completion and total."""
    choice = {"delta": delta | {"role": "assistant"}, "index": 0}
    whole = {
        "choices": [choice | ({"finish_reason": reason} if reason else {})],
        "created": 1752319190,
        "id": "1URyaLjuGKiqmtkPj86KuAI",
        "model": "gemini-2.5-flash",
        "object": "chat.completion.chunk",
    }
    if counts is None:
        return whole
    read, written, total = counts
    return whole | {"usage": {"completion_tokens": written, "prompt_tokens": read, "total_tokens": total}}


def thought(text: str) -> dict[str, Any]:
    return chunk({"content": text, "extra_content": {"google": {"thought": True}}})


def error(code: int, status: str, **more: Any) -> list[dict[str, Any]]:
    return [{"error": {"code": code, "message": WORDS, "status": status} | more}]


CALL = {
    "extra_content": SIGNED,
    "function": {"arguments": '{"country":"UK"}', "name": "get_capital"},
    "id": "jm4owj31",
    "type": "function",
}
SAID = [chunk({"content": "The capital"}, counts=(12, 2, 14)), chunk({"content": " is London."})]

FORMS = {
    "text": Form(
        source=STREAM,
        body=sse(*SAID[:1], chunk({"content": " is London."}, "stop")),
        text="The capital is London.",
        tokens=(12, 5),
    ),
    "text in one chunk and CRLF": Form(
        source=STREAM,
        body=sse(chunk({"content": "London."}, "stop", (12, 2, 14)), newline="\r\n"),
        text="London.",
        tokens=(12, 2),
    ),
    "text with a signature": Form(
        source=SIGNATURES,
        body=sse(*SAID, chunk({"content": None, "extra_content": SIGNED}, "stop")),
        text="The capital is London.",
        opaque={"extra_content": SIGNED},
        tokens=(12, 5),
    ),
    "thoughts that are only counted": Form(
        source=SEEN_COUNTS,
        body=sse(*SAID, chunk({}, "stop", (12, 5, 399))),
        text="The capital is London.",
        tokens=(12, 387),
        thought=382,
    ),
    "reasoning": Form(
        source=SEEN_THOUGHTS,
        body=sse(
            thought("<thought>**Asking**\n\nWhich"),
            thought(" city?"),
            chunk({"content": "</thought>The capital", "extra_content": None}),
            chunk({"content": " is London."}),
            chunk({"content": None, "extra_content": SIGNED}, "stop", (12, 5, 29)),
        ),
        reasoning="**Asking**\n\nWhich city?",
        text="The capital is London.",
        opaque={"extra_content": SIGNED},
        tokens=(12, 17),
        thought=12,
    ),
    "reasoning that ends in its own chunk": Form(
        source=SEEN_THOUGHTS,
        body=sse(thought("<thought>Which city?</thought>"), chunk({"content": "London."}, "stop")),
        reasoning="Which city?",
        text="London.",
        tokens=(12, 5),
    ),
    "tool call": Form(
        source=SEEN_CALL,
        body=sse(chunk({"tool_calls": [CALL]}, "tool_calls", (40, 18, 58))),
        calls=(("get_capital", '{"country":"UK"}'),),
        call_opaque={"extra_content": SIGNED},
        finish_reason="tool_calls",
        tokens=(40, 18),
    ),
    "tool call that stops": Form(
        source=SEEN_CALL,
        body=sse(
            chunk({"tool_calls": [CALL | {"id": "a"}, CALL | {"id": "b", "extra_content": None}]}),
            chunk({"content": ""}, "stop", (40, 36, 76)),
        ),
        calls=(("get_capital", '{"country":"UK"}'), ("get_capital", '{"country":"UK"}')),
        call_opaque={"extra_content": SIGNED},
        tokens=(40, 36),
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:1], chunk({}, "length", (12, 2, 14))),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(12, 2),
    ),
    "content filter": Form(
        source=STREAM,
        body=sse(*SAID[:1], chunk({}, "content_filter", (12, 2, 14))),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(12, 2),
    ),
    "content filter under its own name": Form(
        source=SEEN_FILTER,
        body=sse(*SAID[:1], chunk({}, "SAFETY", (12, 2, 14))),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(12, 2),
    ),
    "content filter with its reason": Form(
        source="https://ai.google.dev/api/generate-content#FinishReason",
        body=sse(chunk({}, "content_filter: RECITATION", (12, 0, 12))),
        ending="incomplete",
        finish_reason="content_filter",
        tokens=(12, 0),
    ),
    "400": refused(ERRORS, 400, "upstream_rejected", error(400, "INVALID_ARGUMENT")),
    "400 bad key": refused(
        ERRORS,
        400,
        "upstream_refused",
        error(
            400,
            "INVALID_ARGUMENT",
            details=[{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}],
        ),
    ),
    "404": refused(ERRORS, 404, "upstream_refused", error(404, "NOT_FOUND")),
    "429": refused(
        SEEN_ERROR,
        429,
        "upstream_throttled",
        error(
            429,
            "RESOURCE_EXHAUSTED",
            details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}],
        ),
        retryable=True,
        retry_after="34",
    ),
    "503": refused(ERRORS, 503, "upstream_failed", error(503, "UNAVAILABLE"), retryable=True),
    "error in the stream": broken(
        ERRORS,
        sse(*SAID[:1], error(503, "UNAVAILABLE"), done=False),
        "upstream_failed",
        retryable=True,
        usage="partial",
        text="The capital",
        tokens=(12, 2),
    ),
    "error before the first token": broken(
        SEEN_ERROR,
        sse(error(429, "RESOURCE_EXHAUSTED"), done=False),
        "upstream_throttled",
        retryable=True,
        usage="none",
    ),
    "cut": broken(
        STREAM,
        sse(*SAID[:1], done=False),
        "upstream_cut",
        retryable=True,
        usage="partial",
        text="The capital",
        tokens=(12, 2),
        is_cut=True,
    ),
    "no finish reason": broken(
        STREAM,
        sse(*SAID),
        "upstream_cut",
        retryable=True,
        usage="partial",
        text="The capital is London.",
        tokens=(12, 5),
    ),
    "no usage": Form(
        source=STREAM,
        body=sse(chunk({"content": "London."}, counts=None), chunk({}, "stop", None)),
        text="London.",
        usage="estimated",
    ),
}
