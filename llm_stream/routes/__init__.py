"""The HTTP views of an `LLMStream`: a module for each kind of client, and what they have in common."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException

from .. import access
from .. import response
from ..errors import new_error_id
from . import native

if TYPE_CHECKING:
    from ..blueprint import LLMStream

logger = logging.getLogger("llm_stream")


def add_to(llm: LLMStream) -> None:
    """Give the blueprint its routes, and errors in JSON."""
    native.add_to(llm)

    @llm.after_request
    def allow_origin(answer: Response) -> Response:
        return access.allow_origin(request, answer, llm.state.settings)

    @llm.errorhandler(HTTPException)
    def in_json(error: HTTPException) -> Response | HTTPException:
        """What `authorize` aborts with, in the one form that errors have; a response of its own stays as it is."""
        if error.response is not None or error.code is None or error.code < 400:
            return error
        code = error.name.lower().replace(" ", "_").replace("'", "")
        told = error.description if error.description != type(error).description else f"{error.name}."
        body = {"code": code, "message": told, "retryable": error.code >= 500, "error_id": new_error_id()}
        logger.info("request refused: %s error_id=%s", code, body["error_id"])
        answer = response.json_response({"error": body}, error.code)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer
