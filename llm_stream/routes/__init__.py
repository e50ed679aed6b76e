"""The HTTP views of an `LLMStream`: a module for each kind of client, and what they have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException

from .. import access
from .. import response
from . import aborted
from . import agui
from . import native
from . import openai
from . import ui
from . import usage

if TYPE_CHECKING:
    from ..blueprint import LLMStream


def add_to(llm: LLMStream) -> None:
    """Give the blueprint its routes, and errors in JSON."""
    native.add_to(llm)
    openai.add_to(llm)
    ui.add_to(llm)
    agui.add_to(llm)
    usage.add_to(llm)

    @llm.after_request
    def allow_origin(answer: Response) -> Response:
        return access.allow_origin(request, answer, llm.state.settings)

    @llm.errorhandler(HTTPException)
    def in_json(error: HTTPException) -> Response | HTTPException:
        """What `authorize` aborts with, in the one form that errors have; a response of its own stays as it is."""
        if aborted.speaks_for_itself(error):
            return error
        body = msgspec.to_builtins(aborted.failure_of(error))
        return aborted.with_headers_of(error, response.json_response({"error": body}, error.code or 500))
