"""What a request was aborted with, by `authorize` for example, in our own words."""

from __future__ import annotations

import logging

import msgspec
from flask import Response
from werkzeug.exceptions import HTTPException

from ...errors import new_error_id
from ...events import Failure
from ...usage.logging import named
from .. import response

logger = logging.getLogger("llm_stream")


def in_json(error: HTTPException) -> Response | HTTPException:
    """The one form that errors have; a response of the error's own stays as it is."""
    if speaks_for_itself(error):
        return error
    body = msgspec.to_builtins(failure_of(error))
    return with_headers_of(error, response.json_response({"error": body}, error.code or 500))


def failure_of(error: HTTPException) -> Failure:
    """It is logged under its id."""
    assert error.code is not None
    code = error.name.lower().replace(" ", "_").replace("'", "")
    told = error.description if error.description != type(error).description else f"{error.name}."
    retryable = error.code >= 500 or error.code in (408, 429)
    failure = Failure(code, str(told), retryable=retryable, error_id=new_error_id())
    logger.info("request refused: %s error_id=%s", code, failure.error_id, extra=named(code, failure.error_id))
    return failure


def speaks_for_itself(error: HTTPException) -> bool:
    """It has a response of its own, a redirect for example."""
    return error.response is not None or error.code is None or error.code < 400


def with_headers_of(error: HTTPException, answer: Response) -> Response:
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            answer.headers[name] = value
    return answer
