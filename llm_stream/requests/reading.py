"""What the protocols have in common when they read a body."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import RequestError


def json_object(body: bytes, example: str = '{"prompt": "…"}') -> dict[str, Any]:
    """Raises `RequestError`, which shows the `example`."""
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("The body is not valid JSON.") from error
    if not isinstance(given, dict):
        raise RequestError(f"The body must be a JSON object, like {example}.")
    return given


def is_image_url(url: str | None) -> bool:
    """Whether a client may name this picture: by a public address, or by value."""
    return (url or "").startswith(("https://", "data:image/"))
