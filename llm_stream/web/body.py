"""Reads a request body within the size limit, and fingerprints a request."""

from __future__ import annotations

import hashlib

from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge

from ..errors import NotJSON
from ..errors import RequestError
from ..errors import TooLarge
from ..settings import Settings


def read_json(settings: Settings) -> bytes:
    """The unparsed bytes of a JSON body. Raises `NotJSON`, `TooLarge`, and `RequestError` for a broken body."""
    if not request.is_json:
        raise NotJSON()
    limit = min(settings.max_request_bytes, request.max_content_length or settings.max_request_bytes)
    request.max_content_length = limit + 1  # Werkzeug truncates a body without Content-Length instead of refusing it
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        body = None
    except HTTPException:  # the client has disconnected
        raise
    except Exception as error:  # raised by the server, which decodes a chunked body while we read
        raise RequestError("The body is not valid HTTP.") from error
    if body is None or len(body) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")
    if len(body) < (request.content_length or 0):  # gunicorn reports no error
        raise RequestError("The body is shorter than its Content-Length says.")
    return body


def fingerprint() -> bytes:
    """A digest of the request: the same for a repeated request to one of the app's views."""
    head = f"{request.method} {request.full_path} {sorted(request.form.items(multi=True))}".encode(errors="replace")
    return hashlib.sha256(head + request.get_data(cache=True)).digest()
