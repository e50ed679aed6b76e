"""The body of a request: bytes that are not too many, and what tells two of them apart."""

from __future__ import annotations

import hashlib

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge

from ..errors import NotJSON
from ..errors import TooLarge
from ..settings import Settings


def read_json(settings: Settings) -> bytes:
    """The bytes of a body that says it is JSON; they are not parsed. Raises `NotJSON`, `TooLarge`."""
    if not request.is_json:
        raise NotJSON()
    limit = min(settings.max_request_bytes, request.max_content_length or settings.max_request_bytes)
    request.max_content_length = limit + 1  # a body that does not say how long it is would be cut, not refused
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        body = None
    if body is None or len(body) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")
    return body


def fingerprint() -> bytes:
    """Equal for two requests that ask a view of the app's the same thing."""
    asked = f"{request.method} {request.full_path} {sorted(request.form.items(multi=True))}".encode(errors="replace")
    return hashlib.sha256(asked + request.get_data(cache=True)).digest()
