"""What we know of the inside of an `OpenAI` client: its HTTP client, and whether its headers may change."""

from __future__ import annotations

from typing import Any

from openai import OpenAI
from openai import _base_client

from ..server.private import first_missing
from ..server.private import missing

HTTP_CLIENT = "_client"
DEFAULT_HTTP_CLIENT = "SyncHttpxClientWrapper"
CREDENTIALS = ("_api_key_provider", "workload_identity", "_provider_runtime")
"""Where a client keeps a way to get a key, as against a key."""

SLOW_CALLS = "the SDK makes each request anew, which costs more CPU"


def http_client_of(client: OpenAI) -> Any:
    """None where it cannot be found: then nothing of it is watched or replaced."""
    http_client = getattr(client, HTTP_CLIENT, None)
    if http_client is None:
        missing("openai", f"OpenAI.{HTTP_CLIENT}", SLOW_CALLS)
    return http_client


def has_default_http_client(client: OpenAI) -> bool:
    """Whether the SDK has made it: the app has chosen none of its own."""
    default = getattr(_base_client, DEFAULT_HTTP_CLIENT, None)
    if default is None:
        missing("openai", DEFAULT_HTTP_CLIENT, SLOW_CALLS)
        return False
    return type(http_client_of(client)) is default


def has_constant_headers(client: OpenAI) -> bool:
    """Whether nothing of its requests changes from one to the next but the body.

    A name that is missing may have been renamed, so it proves nothing: an old key must not be sent.
    """
    if lacking := first_missing(client, CREDENTIALS):
        missing("openai", f"OpenAI.{lacking}", SLOW_CALLS)
        return False
    return type(client) is OpenAI and all(getattr(client, name) is None for name in CREDENTIALS)
