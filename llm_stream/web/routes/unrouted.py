"""Answers 404 and 405 below the prefix in our error format, and below its `/v1` in OpenAI's.

Flask assigns a request without a matching route to no blueprint, so the app would respond with its HTML error page.
"""

from __future__ import annotations

from flask import Response
from flask import current_app
from flask import request
from werkzeug.exceptions import BadRequest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from .. import access
from ..service import Service
from . import aborted
from . import address
from . import openai_form
from . import origins


def add_to(llm: Service) -> None:

    @llm.before_app_request
    def answer_unrouted() -> Response | HTTPException | None:
        error = request.routing_exception
        if error is None or (path := _path_below_prefix(llm)) is None:
            return None
        if isinstance(error, BadRequest):  # an untrusted host: no page may read the response
            return _in_our_form(error, path)
        origins.claim_request(llm)
        if request.method == "OPTIONS" and access.is_allowed_origin(request, llm.state.settings):
            return Response(status=204)  # so that the page sees the request's error; browsers hide a preflight's error
        if isinstance(error, RequestRedirect):
            return None
        return _in_our_form(error, path)


def _in_our_form(error: HTTPException, path: str) -> Response | HTTPException:
    return openai_form.of_exception(error) if path.split("/")[0] == "v1" else aborted.in_json(error)


def _path_below_prefix(llm: Service) -> str | None:
    try:
        adapter = address.url_adapter()
    except HTTPException:  # an untrusted host; the path may be ours
        adapter = current_app.url_map.bind("", path_info=request.path)
    rests = (prefix.rest_of(adapter) for prefix in llm.state.prefixes)
    return next((rest for rest in rests if rest is not None), None)
