"""Errors in all the forms in which they come under the status 200: recognised, and told apart."""

from __future__ import annotations

from typing import Any

import pytest

from llm_stream.upstream.chunks import ChunkDecoder
from llm_stream.upstream.refusals import describe
from llm_stream.upstream.refusals import error_in_body
from llm_stream.upstream.refusals import is_error
from llm_stream.upstream.refusals import is_refusal

FAILED = "upstream_failed"
THROTTLED = "upstream_throttled"
REFUSED = "upstream_refused"
REJECTED = "upstream_rejected"
TOO_LONG = "context_too_long"

M = "PROVIDER WORDS"

ERRORS: list[tuple[dict[str, Any], str]] = [
    # OpenAI's
    ({"error": {"message": M, "type": "tokens", "param": None, "code": "rate_limit_exceeded"}}, THROTTLED),
    ({"error": {"message": M, "type": "requests", "param": None, "code": None}}, THROTTLED),
    ({"error": {"message": M, "type": "insufficient_quota", "param": None, "code": "insufficient_quota"}}, REFUSED),
    ({"error": {"message": M, "type": "insufficient_quota", "code": 429}}, REFUSED),
    ({"error": {"message": M, "type": "invalid_request_error", "code": "invalid_api_key"}}, REFUSED),
    ({"error": {"message": M, "type": "invalid_request_error", "code": "model_not_found"}}, REFUSED),
    ({"error": {"message": M, "type": "invalid_request_error", "code": None}}, REJECTED),
    ({"error": {"message": M, "type": "invalid_request_error", "code": "context_length_exceeded"}}, TOO_LONG),
    ({"error": {"message": M, "type": "server_error", "code": None}}, FAILED),
    ({"error": {"message": M}}, FAILED),
    # llama.cpp, Ollama, LiteLLM, OpenRouter, AICredits
    ({"error": {"code": 400, "message": M, "type": "exceed_context_size_error", "n_ctx": 4096}}, TOO_LONG),
    ({"error": M}, FAILED),
    ({"error": "Too Many Requests"}, THROTTLED),
    ({"error": {"message": M, "type": "None", "param": "None", "code": "500"}}, FAILED),
    ({"error": {"message": M, "type": "None", "param": "None", "code": "429"}}, THROTTLED),
    ({"error": {"code": 402, "message": M, "metadata": {}}}, REFUSED),
    ({"error": {"code": 403, "message": M, "metadata": {"reasons": []}}}, REFUSED),
    ({"error": {"code": 408, "message": M}}, FAILED),
    ({"error": {"code": 422, "message": M}}, REJECTED),
    ({"error": {"code": 502, "message": M}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]}, FAILED),
    ({"error": M, "error_type": "overloaded"}, FAILED),  # TGI
    ({"error": M, "error_type": "validation"}, REJECTED),
    ({"error": True, "message": M, "status": 429}, THROTTLED),
    # Anthropic, Google, Moonshot, Zhipu
    ({"type": "error", "error": {"type": "rate_limit_error", "message": M}}, THROTTLED),
    ({"type": "error", "error": {"type": "overloaded_error", "message": M}}, FAILED),
    ({"type": "error", "error": {"type": "authentication_error", "message": M}}, REFUSED),
    ({"type": "error", "error": {"type": "request_too_large", "message": M}, "status": 413}, TOO_LONG),
    ({"error": {"code": 429, "message": M, "status": "RESOURCE_EXHAUSTED"}}, THROTTLED),
    ({"error": {"message": M, "status": "UNAUTHENTICATED"}}, REFUSED),
    ({"error": {"message": M, "type": "rate_limit_reached_error"}}, THROTTLED),
    ({"error": {"message": M, "code": "1302"}}, FAILED),
    # flat
    ({"object": "error", "message": M, "type": "BadRequestError", "param": None, "code": 400}, REJECTED),
    ({"code": 404, "message": M, "object": "error", "param": None, "type": "NotFoundError"}, REFUSED),
    ({"object": "error", "message": M, "type": "rate_limited", "code": "1300", "raw_status_code": 429}, THROTTLED),
    ({"type": "error", "message": M}, FAILED),
    ({"message": M, "code": "rate_limit_exceeded", "type": "requests"}, THROTTLED),
    ({"message": M, "type": "rate_limit_error"}, THROTTLED),
    ({"message": M, "type": "error/rate_limit"}, FAILED),
    ({"message": M, "code": 429}, THROTTLED),
    ({"msg": M, "code": "401"}, REFUSED),
    ({"code": "InvalidApiKey", "message": M, "request_id": "r"}, REFUSED),
    ({"code": "InvalidParameter", "message": M, "request_id": "r"}, REJECTED),
    ({"code": 50000, "message": M}, FAILED),
    ({"status": 429, "message": M}, THROTTLED),
    ({"status": "error", "message": M}, FAILED),
    ({"status_code": 503, "message": M}, FAILED),
    ({"errors": [{"code": 429, "message": M}], "success": False}, THROTTLED),
    # FastAPI and Starlette
    ({"detail": M}, FAILED),
    ({"detail": "Not Found"}, REFUSED),
    ({"detail": "Not authenticated"}, REFUSED),
    ({"detail": "Too Many Requests"}, THROTTLED),
    ({"detail": {"error": {"message": M, "code": 429}}}, THROTTLED),
    ({"detail": [{"loc": ["body", "messages"], "msg": M, "type": "missing"}]}, REJECTED),
    # RFC 9457
    ({"type": "about:blank", "title": "Too Many Requests", "status": 429, "detail": M}, THROTTLED),
    ({"type": "https://example.com/problems/credit", "title": M, "status": 402}, REFUSED),
    ({"type": "https://example.com/problems/x", "title": M, "status": "503", "detail": M}, FAILED),
    ({"title": "Forbidden", "detail": M}, REFUSED),
]


@pytest.mark.parametrize(("body", "code"), ERRORS, ids=str)
def test_error_is_recognised_in_any_form_and_told_by_its_status(body: dict[str, Any], code: str) -> None:
    assert is_refusal(body)
    error = error_in_body(body)
    assert error.code == code
    assert M not in str(error) + describe(error.__cause__)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"ok": True},
        {"choices": []},
        {"id": "x", "object": "chat.completion.chunk", "choices": [], "usage": None},
        {"choices": [{"message": {"content": "x"}}], "code": 7, "message": "x", "detail": "x"},
        {"choices": [], "error": None, "detail": None},
        {"type": "ping"},
        {"message": "no more than that"},
        {"message": {"role": "assistant", "content": "x"}, "code": 7},
        {"status": "queued", "message": "two are before you"},
        {"code": 0, "message": "ok"},
        {"code": "200", "msg": "success"},
        {"code": "Success", "msg": "x"},
        {"code": None, "status": None, "type": None, "message": "x"},
        {"code": True, "message": "x"},
    ],
    ids=str,
)
def test_what_is_no_error_is_none(body: dict[str, Any]) -> None:
    assert not is_error(body)
    assert not is_refusal(body)
    ChunkDecoder().events(body)


def test_error_that_is_wrapped_without_end_is_read_to_a_depth() -> None:
    error: dict[str, Any] = {"code": 429}
    for _ in range(10_000):
        error = {"error": error}
    assert error_in_body(error).code == FAILED
