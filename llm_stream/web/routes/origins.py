"""Which answers the pages of `LLM_STREAM_ORIGINS` may read: those of our routes and of `respond()`, and no others.

What an app's other views say is for the app's own pages, even where such a view has called `respond()` before.
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
"""In the environment of a request: the `LLMStream` that answers it."""

MARK = "llm_stream_cross_origin"


def add_to(llm: Service) -> None:

    def let_read(app: Flask, response: Response, **_: Any) -> None:
        if request.environ.get(ANSWERED_BY) is llm or _is_ours(llm, _endpoint_in_question()):
            access.allow_origin(request, response, llm.state.settings)

    @llm.record_once
    def connect(setup: BlueprintSetupState) -> None:
        # the signal comes after every after_request function, so that nobody adds a header to ours: browsers refuse two
        request_finished.connect(let_read, setup.app)


def claim(llm: Service) -> None:
    """The current request is answered by this one, also if the answer is an error."""
    request.environ[ANSWERED_BY] = llm


def mark(view: Callable[..., Any], llm: Service) -> None:
    """Every answer of this view of the app's is for pages of other origins too."""
    setattr(view, MARK, llm)


def _is_ours(llm: Service, endpoint: str | None) -> bool:
    if endpoint is None:
        return False
    names = endpoint.split(".")[:-1]
    owners = (current_app.blueprints.get(".".join(names[: n + 1])) for n in range(len(names)))
    return any(owner is llm for owner in owners) or _mark_of(endpoint) is llm


def _mark_of(endpoint: str) -> object:
    return getattr(current_app.view_functions.get(endpoint), MARK, None)


def _endpoint_in_question() -> str | None:
    """For a preflight it is where the request that it announces would go, which may be another view."""
    method = request.headers.get("Access-Control-Request-Method")
    if not method or request.method != "OPTIONS":
        return request.endpoint
    try:
        endpoint: str = address.requested().match(method=method)[0]
    except HTTPException:
        return request.endpoint  # nowhere: a page is to see the 405
    return endpoint
