"""Turns an `HTTPException`, such as an `abort()` in `authorize`, into an error response in our format."""

from __future__ import annotations

import logging
from collections.abc import Callable

from flask import Response
from werkzeug.exceptions import HTTPException

from ...errors import new_error_id
from ...events import Failure
from ...usage.logging import named
from .. import metrics
from .. import response

logger = logging.getLogger("llm_stream")


def render(error: HTTPException, render_failure: Callable[[Failure, int], Response]) -> Response | HTTPException:
    """The response to `error`, with its headers. An exception with its own response, such as a redirect, is kept."""
    if error.response is not None or error.code is None or error.code < 400:
        return error
    answer = render_failure(_log_failure(error, error.code), error.code)
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer


def in_json(error: HTTPException) -> Response | HTTPException:
    return render(error, lambda failure, status: response.json_response({"error": failure}, status))


def _log_failure(error: HTTPException, status: int) -> Failure:
    """Describe `error` as a `Failure` and log it under its id."""
    code = error.name.lower().replace(" ", "_").replace("'", "")
    message = error.description if error.description != type(error).description else f"{error.name}."
    retryable = status >= 500 or status in (408, 429)
    failure = Failure(code, str(message), retryable=retryable, error_id=new_error_id())
    logger.info("request refused: %s error_id=%s", code, failure.error_id, extra=named(code, failure.error_id))
    metrics.count_refusal(code)
    return failure
