"""vLLM. https://docs.vllm.ai/en/latest/serving/openai_compatible_server/

Reasoning as `reasoning`, until January 2026 as `reasoning_content`; an error in the stream has a number as its code.
"""

from __future__ import annotations

from typing import Any

from .form import WORDS
from .form import Form
from .form import broken
from .form import refused
from .form import sse

STREAM = "https://docs.vllm.ai/en/latest/serving/openai_compatible_server/"
REASONING = "https://docs.vllm.ai/en/latest/features/reasoning_outputs/"
TOOLS = "https://docs.vllm.ai/en/latest/features/tool_calling/"
SOURCE = "https://github.com/vllm-project/vllm/tree/main/vllm/entrypoints/openai/chat_completion"


def frame(choices: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    return {
        "id": "chatcmpl-9f1c2a7b6c0e4d53",
        "object": "chat.completion.chunk",
        "created": 1767225600,
        "model": "Qwen/Qwen3-0.6B",
        "choices": choices,
    } | more


def chunk(delta: dict[str, Any], reason: str | None = None, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
    return frame([choice | ({"stop_reason": None} if reason else {}) | {"token_ids": None}], **more)


def figures(read: int, written: int) -> dict[str, Any]:
    return {
        "prompt_tokens": read,
        "total_tokens": read + written,
        "completion_tokens": written,
        "prompt_tokens_details": None,
    }


def used(read: int, written: int) -> dict[str, Any]:
    return frame([], usage=figures(read, written))


def error(type: str, code: int, param: str | None = None) -> dict[str, Any]:
    return {"error": {"message": WORDS, "type": type, "param": param, "code": code}}


BEGIN = chunk({"role": "assistant", "content": ""}, prompt_token_ids=None)
SAID = [BEGIN, chunk({"content": "The capital"}), chunk({"content": " is London."})]
RUNNING: dict[str, Any] = {"text": "The capital", "tokens": (17, 2), "usage": "partial"}

FORMS = {
    "text": Form(
        source=STREAM,
        body=sse(*SAID, chunk({"content": ""}, "stop"), used(17, 6)),
        text="The capital is London.",
        tokens=(17, 6),
    ),
    "text with usage on every chunk": Form(
        source=STREAM,
        body=sse(
            chunk({"role": "assistant", "content": ""}, usage=figures(17, 0)),
            chunk({"content": "London"}, usage=figures(17, 1)),
            chunk({"content": "."}, "stop", usage=figures(17, 2)),
            used(17, 2),
        ),
        text="London.",
        tokens=(17, 2),
    ),
    "reasoning": Form(
        source=REASONING,
        body=sse(
            BEGIN,
            chunk({"reasoning": "Which"}),
            chunk({"reasoning": " city?"}),
            chunk({"content": "London."}),
            chunk({"content": ""}, "stop"),
            used(17, 9),
        ),
        reasoning="Which city?",
        text="London.",
        tokens=(17, 9),
    ),
    "reasoning under both names": Form(
        source=SOURCE,
        body=sse(
            BEGIN,
            chunk({"reasoning": "Which", "reasoning_content": "Which"}),
            chunk({"reasoning": " city?", "reasoning_content": " city?"}),
            chunk({"content": "London."}, "stop"),
            used(17, 9),
        ),
        reasoning="Which city?",
        text="London.",
        tokens=(17, 9),
    ),
    "tool call": Form(
        source=TOOLS,
        body=sse(
            BEGIN,
            chunk(
                {
                    "tool_calls": [
                        {
                            "id": "chatcmpl-tool-7c1f",
                            "type": "function",
                            "index": 0,
                            "function": {"name": "get_capital", "arguments": ""},
                        }
                    ]
                }
            ),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '{"country": '}}]}),
            chunk({"tool_calls": [{"index": 0, "function": {"arguments": '"UK"}'}}]}),
            chunk({"content": ""}, "tool_calls"),
            used(160, 21),
        ),
        calls=(("get_capital", '{"country": "UK"}'),),
        finish_reason="tool_calls",
        tokens=(160, 21),
    ),
    "length": Form(
        source=STREAM,
        body=sse(*SAID[:2], chunk({"content": ""}, "length"), used(17, 2)),
        text="The capital",
        ending="incomplete",
        finish_reason="length",
        tokens=(17, 2),
    ),
    "400": refused(SOURCE, 400, "upstream_rejected", error("BadRequestError", 400)),
    "401": refused(SOURCE, 401, "upstream_refused", {"error": "Unauthorized"}),
    "404": refused(SOURCE, 404, "upstream_refused", error("NotFoundError", 404, "model")),
    "500": refused(SOURCE, 500, "upstream_failed", error("InternalServerError", 500), retryable=True),
    "error in the stream": broken(
        SOURCE,
        sse(*SAID[:2], error("InternalServerError", 500)),
        "upstream_failed",
        retryable=True,
        text="The capital",
    ),
    "error in the stream of old versions": broken(
        SOURCE,
        sse(*SAID[:2], {"object": "error", "message": WORDS, "type": "BadRequestError", "param": None, "code": 400}),
        "upstream_rejected",
        text="The capital",
    ),
    "error before the first token": broken(
        SOURCE, sse(error("BadRequestError", 400)), "upstream_rejected", usage="none"
    ),
    "abort": broken(
        SOURCE, sse(*SAID[:2], chunk({}, "abort"), used(17, 2)), "upstream_failed", retryable=True, **RUNNING
    ),
    "cut": broken(STREAM, sse(*SAID[:2], done=False), "upstream_cut", retryable=True, text="The capital", is_cut=True),
    "no finish reason": broken(STREAM, sse(*SAID), "upstream_cut", retryable=True, text="The capital is London."),
}
