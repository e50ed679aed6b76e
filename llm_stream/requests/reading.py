"""Body parsing shared by all protocols."""

from __future__ import annotations

from typing import Any

import msgspec

from ..errors import InvalidField
from ..errors import RequestError


def json_object(body: bytes, example: str = '{"prompt": "…"}') -> dict[str, Any]:
    """Decode a JSON object. Raises `RequestError`, which shows `example`."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("The body is not valid JSON.") from error
    if not isinstance(fields, dict):
        raise RequestError(f"The body must be a JSON object, like {example}.")
    return fields


def is_image_url(url: str | None) -> bool:
    """Whether a client may send this image URL: public (https:) or inline (data:)."""
    return (url or "").startswith(("https://", "data:image/"))


def image_url(url: str, where: str) -> str:
    """The unchanged URL. Raises `InvalidField` if clients must not send it."""
    if not is_image_url(url):
        raise InvalidField(f"The field '{where}' must be an https: or data:image/ URL.")
    return url
