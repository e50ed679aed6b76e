"""Azure OpenAI. https://learn.microsoft.com/azure/foundry/openai/concepts/content-streaming

The first chunk has no choice, only what the filter says of the prompt; each choice has what it says of the answer.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://learn.microsoft.com/azure/foundry/openai/concepts/content-streaming"
FILTER = "https://learn.microsoft.com/azure/foundry/openai/concepts/content-filter"
LIMITS = "https://learn.microsoft.com/azure/foundry/openai/quotas-limits"
SEEN = "https://github.com/langchain4j/langchain4j/issues/2385"
SEEN_LATER = "https://github.com/microsoft/autogen/issues/6465"

SAFE = {kind: {"filtered": False, "severity": "safe"} for kind in ("hate", "self_harm", "sexual", "violence")}
FILTERED = SAFE | {"violence": {"filtered": True, "severity": "medium"}}
UNCHECKED = {"error": {"code": "content_filter_error", "message": "The contents are not filtered"}}

PROMPT_CHECKED = {
    "choices": [],
    "created": 0,
    "id": "",
    "model": "",
    "object": "",
    "prompt_filter_results": [{"prompt_index": 0, "content_filter_results": SAFE}],
}


def frame(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "choices": choices,
        "created": 1736407895,
        "id": "chatcmpl-AnhIt2rw8vL8czymkCwEOKKTg7HPc",
        "model": "gpt-4o-mini-2024-07-18",
        "object": "chat.completion.chunk",
        "system_fingerprint": "fp_5154047bf2",
    } | more


def chunk(delta: dict[str, Any], reason: str | None = None, checked: dict[str, Any] = SAFE) -> dict[str, Any]:
    choice = {"content_filter_results": checked, "delta": delta, "finish_reason": reason, "index": 0, "logprobs": None}
    return frame([choice])


def used(read: int, written: int) -> dict[str, Any]:
    details = {"reasoning_tokens": 0, "audio_tokens": 0, "accepted_prediction_tokens": 0}
    return frame(
        [],
        usage={
            "completion_tokens": written,
            "completion_tokens_details": details | {"rejected_prediction_tokens": 0},
            "prompt_tokens": read,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": 0},
            "total_tokens": read + written,
        },
    )


def error(code: str, **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": WORDS} | more}


def later(start: int, end: int, checked: dict[str, Any] = SAFE, reason: str | None = None) -> dict[str, Any]:
    """What the asynchronous filter says of text that was sent before."""
    offsets = {"check_offset": start, "start_offset": start, "end_offset": end}
    choice = {"content_filter_offsets": offsets, "content_filter_results": checked, "finish_reason": reason, "index": 0}
    return {"choices": [choice], "created": 0, "id": "", "model": "", "object": ""}


SAID = [
    PROMPT_CHECKED,
    chunk({"content": "", "refusal": None, "role": "assistant"}, checked={}),
    chunk({"content": "The capital"}),
    chunk({"content": " is London."}),
]

FORMS = {
    "text": Form(
        source=SEEN,
        body=sse(*SAID, chunk({}, "stop", {}), used(24, 6)),
        text="The capital is London.",
        tokens=(24, 6),
        cached=0,
    ),
    "text that the filter could not check": Form(
        source=FILTER,
        body=sse(*SAID[:2], chunk({"content": "London."}, checked=UNCHECKED), chunk({}, "stop", {}), used(24, 2)),
        text="London.",
        tokens=(24, 2),
    ),
    "text that is checked later": Form(
        source=SEEN_LATER,
        body=sse(*SAID, later(44, 66), chunk({}, "stop"), later(66, 66), used(24, 6)),
        text="The capital is London.",
        tokens=(24, 6),
    ),
    "tool call": Form(
        source=SEEN,
        body=sse(
            PROMPT_CHECKED,
            chunk(
                {
                    "content": None,
                    "refusal": None,
                    "role": "assistant",
                    "tool_calls": [
                        {
                            "function": {"arguments": "", "name": "get_capital"},
                            "id": "call_tNUxGDBs",
                            "index": 0,
                            "type": "function",
                        }
                    ],
                },
                checked={},
            ),
            chunk({"tool_calls": [{"function": {"arguments": '{"country"'}, "index": 0}]}, checked={}),
            chunk({"tool_calls": [{"function": {"arguments": ':"UK"}'}, "index": 0}]}, checked={}),
            chunk({}, "tool_calls", {}),
            used(70, 15),
        ),
        calls=(("get_capital", '{"country":"UK"}'),),
        finish_reason="tool_calls",
        tokens=(70, 15),
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:3], chunk({}, "length", {}), used(24, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(24, 2),
    ),
    "content filter": Form(
        source=FILTER,
        body=sse(*SAID[:3], chunk({}, "content_filter", FILTERED)),
        text="The capital",
        ending="incomplete",
        finish_reason="content_filter",
        usage="estimated",
    ),
    "content filter that is late": Form(
        source=STREAM,
        body=sse(*SAID, later(44, 66, FILTERED, "content_filter"), done=False),
        text="The capital is London.",
        ending="incomplete",
        finish_reason="content_filter",
        usage="estimated",
    ),
    "400 prompt filtered": refused(
        FILTER,
        400,
        "upstream_rejected",
        error(
            "content_filter",
            type=None,
            param="prompt",
            status=400,
            innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": FILTERED},
        ),
    ),
    "401": refused(LIMITS, 401, "upstream_refused", error("401")),
    "404": refused(LIMITS, 404, "upstream_refused", error("DeploymentNotFound")),
    "429": refused(
        LIMITS,
        429,
        "upstream_throttled",
        error("429"),
        retryable=True,
        retry_after="20",
        headers={"retry-after": "20", "retry-after-ms": "20000", "x-ratelimit-remaining-tokens": "0"},
    ),
    "500": refused(LIMITS, 500, "upstream_failed", error("InternalServerError"), retryable=True),
    "error in the stream": broken(
        STREAM,
        sse(*SAID[:3], error("server_error", type="server_error", param=None), done=False),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "cut": broken(STREAM, sse(*SAID[:3], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
}
