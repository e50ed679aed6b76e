"""Requests to an address below the prefix that no route has, or by a method that its route does not have.

Flask gives them to no blueprint. The app would answer with a page of its own, which a client of ours cannot read.
"""

from __future__ import annotations

from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.routing import RequestRedirect

from .. import access
from ..service import Service
from . import aborted
from . import address
from . import origins


def add_to(llm: Service) -> None:

    @llm.before_app_request
    def refuse() -> Response | HTTPException | None:
        error = request.routing_exception
        if error is None or not _is_below_prefix(llm):
            return None
        origins.claim(llm)
        if request.method == "OPTIONS" and access.is_allowed_origin(request, llm.state.settings):
            return Response(status=204)  # a browser shows its page the error of the request itself, but not of this one
        return None if isinstance(error, RequestRedirect) else aborted.in_json(error)


def _is_below_prefix(llm: Service) -> bool:
    try:
        asked = address.requested()
    except HTTPException:
        return False
    return any(prefix.holds(asked) for prefix in llm.state.prefixes)
