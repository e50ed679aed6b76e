"""The URL of a stream, and the URL adapter of the current request."""

from __future__ import annotations

from flask import current_app
from flask import request
from flask import url_for
from werkzeug.routing import MapAdapter

from ...core.followed import Followed
from ..service import Service


def registered_names(llm: Service) -> list[str]:
    """The names under which `llm` is registered on the current app."""
    return [name for name, blueprint in current_app.blueprints.items() if blueprint is llm]


def url_of(llm: Service, stream: Followed) -> str:
    """The stream's URL in the registration that serves this request, or in the first one for the app's own views."""
    names = registered_names(llm)
    name = next((name for name in request.blueprints if name in names), names[0])
    return url_for(f"{name}.follow_stream", stream_id=stream.id)


def url_adapter() -> MapAdapter:
    """An adapter that matches routes at the current request's address. Raises `HTTPException` for an untrusted host."""
    adapter = current_app.create_url_adapter(request)
    assert adapter is not None  # there is a request
    return adapter
