"""Where a stream is found, and where a request goes."""

from __future__ import annotations

from flask import current_app
from flask import request
from flask import url_for
from werkzeug.routing import MapAdapter

from ...core.stream import Stream
from ..service import Service


def url_of(llm: Service, stream: Stream) -> str:
    """In the registration that the current request came to; for a request to a view of the app's, in the first one."""
    names = [name for name, blueprint in current_app.blueprints.items() if blueprint is llm]
    name = next((name for name in request.blueprints if name in names), names[0])
    return url_for(f"{name}.follow_stream", stream_id=stream.id)


def requested() -> MapAdapter:
    """The current request's, to look up other routes at. Raises `HTTPException` where its host is not trusted."""
    found = current_app.create_url_adapter(request)
    assert found is not None  # as there is a request
    return found
