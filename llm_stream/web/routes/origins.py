"""Adds CORS headers for pages of `LLM_STREAM_ORIGINS` to three kinds of responses only:

those of our own routes, of `respond()`, and of views decorated with `@llm.cross_origin`.
The app's other views never get these headers, even if they called `respond()` during an earlier request.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask
from flask import Response
from flask import current_app
from flask import request
from flask import request_finished
from flask.blueprints import BlueprintSetupState
from werkzeug.exceptions import HTTPException

from .. import access
from ..service import Service
from . import address

ANSWERED_BY = "llm_stream.answered_by"
"""The WSGI environment key that holds the `LLMStream` answering a request."""

MARK = "llm_stream_cross_origin"
"""The attribute of a view function that holds the `LLMStream` which decorated it."""


def add_to(llm: Service) -> None:

    def add_headers(app: Flask, response: Response, **_: Any) -> None:
        if request.environ.get(ANSWERED_BY) is llm or _is_open(llm, _target_endpoint()):
            access.allow_origin(request, response, llm.state.settings)

    @llm.record_once
    def connect(setup: BlueprintSetupState) -> None:
        # Flask sends this after all after_request functions, so none can add a header twice, which browsers refuse
        request_finished.connect(add_headers, setup.app)


def claim_request(llm: Service) -> None:
    """Mark the current request as answered by `llm`, even if the answer is an error."""
    request.environ[ANSWERED_BY] = llm


def mark_view(view: Callable[..., Any], llm: Service) -> None:
    """Let pages of other origins read every response of this view."""
    setattr(view, MARK, llm)


def _is_open(llm: Service, endpoint: str | None) -> bool:
    """Whether `endpoint` is one of our routes, or a view marked by `mark_view()`."""
    if endpoint is None:
        return False
    if getattr(current_app.view_functions.get(endpoint), MARK, None) is llm:
        return True
    return any(endpoint.startswith(f"{name}.") for name in address.registered_names(llm))


def _target_endpoint() -> str | None:
    """The request's endpoint. For a preflight: the endpoint of the request that it announces."""
    method = request.headers.get("Access-Control-Request-Method")
    if not method or request.method != "OPTIONS":
        return request.endpoint
    try:
        endpoint: str = address.url_adapter().match(method=method)[0]
    except HTTPException:
        return request.endpoint  # no such route: let the page see the 405
    return endpoint
