"""The errors and headers that OpenAI's clients expect from all routes below `/v1`."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Response
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError

from ...core.followed import Followed
from ...errors import LLMStreamError
from ...errors.statuses import status_of
from ...events import Failure
from ...events import Usage
from ...requests import WrongParameter
from ...wire.openai import error_of
from .. import response
from ..service import Service
from . import aborted
from .address import url_of


def of_error(error: LLMStreamError) -> Response:
    """The response to a refused request."""
    response.log_refusal(error)
    param = error.param if isinstance(error, WrongParameter) else None
    answer = _error(error.failure(), error.status, param)
    answer.headers["x-should-retry"] = _yes_or_no(error.retryable)
    return answer


def of_exception(error: HTTPException) -> Response | HTTPException:
    answer = aborted.render(error, _error)
    if isinstance(error, InternalServerError) and isinstance(answer, Response):  # the request may have bought an answer
        answer.headers["x-should-retry"] = _yes_or_no(False)
    return answer


def of_failure(stream: Followed, failure: Failure) -> Response:
    """The response for a failed stream. Without `x-should-retry`, SDKs retry twice and each retry may cost money."""
    answer = _error(failure, status_of(failure.code))
    cost_nothing = any(isinstance(event, Usage) and event.source == "none" for event in stream.log.events)
    may_succeed = failure.retryable and stream.key is None  # with the same key, a retry gets the same failure
    answer.headers["x-should-retry"] = _yes_or_no(cost_nothing and may_succeed)
    return answer


def add_headers(
    llm: Service, answer: Response, stream: Followed, left_out: Sequence[str], prefix: str = ""
) -> Response:
    """Add the stream's id and URL, and the names of ignored parameters."""
    answer.headers["x-request-id"] = prefix + stream.id
    answer.headers["x-llm-stream-url"] = url_of(llm, stream)
    answer.headers.setdefault("x-should-retry", _yes_or_no(False))
    if left_out:
        answer.headers["x-llm-stream-left-out"] = ", ".join(left_out)
    return answer


def _error(failure: Failure, status: int, param: str | None = None) -> Response:
    answer = response.refusal(error_of(failure, status, param), status, failure.retry_after)
    answer.headers["x-request-id"] = failure.error_id
    return answer


def _yes_or_no(yes: bool) -> str:
    return "true" if yes else "false"
