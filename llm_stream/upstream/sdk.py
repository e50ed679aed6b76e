"""Code that depends on the internals of OpenAI's SDK: its client, and the call behind one of its streams."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import openai
from openai import OpenAI
from pydantic import BaseModel

from ..errors import StreamError
from ..errors import UpstreamCut
from ..errors import UpstreamUnreachable
from ..server.private import has_names
from ..server.private import warn_missing
from .chat import ChatCompletions
from .lifeline import shut_down
from .refusals import error_in_body
from .refusals import translate
from .source import NOTHING
from .source import Asked

HTTP_CLIENT = "_client"
DEFAULT_HTTP_CLIENT = "SyncHttpxClientWrapper"
CREDENTIALS = ("_api_key_provider", "workload_identity", "_provider_runtime")
"""Attributes with a function or a service that fetches the key. They are None for a constant key."""

SLOW_CALLS = "the SDK builds each request from scratch, which uses more CPU"

NAMED = ("properties", "$defs")
VALUES = ("const", "enum", "examples")
"""Keywords of a JSON schema whose values are not schemas."""

REQUEST_ID = ("x-generation-id", "x-request-id")
"""The headers with the provider's id of a call. OpenRouter's exports use the first."""


def http_client_of(client: OpenAI) -> Any:
    """The client's HTTP client; None if it cannot be found. Then it is neither watched nor replaced."""
    http_client = getattr(client, HTTP_CLIENT, None)
    if http_client is None:
        warn_missing("openai", f"OpenAI.{HTTP_CLIENT}", SLOW_CALLS)
    return http_client


def has_default_http_client(client: OpenAI) -> bool:
    """Whether the SDK made the HTTP client, because the app did not pass one."""
    default = getattr(getattr(openai, "_base_client", None), DEFAULT_HTTP_CLIENT, None)
    if default is None:
        warn_missing("openai", DEFAULT_HTTP_CLIENT, SLOW_CALLS)
        return False
    return type(http_client_of(client)) is default


def has_constant_headers(client: OpenAI) -> bool:
    """Whether only the body changes between two of its requests.

    A missing attribute may have been renamed, so the answer is False then: an old key must not be sent.
    """
    if not has_names(client, CREDENTIALS, "openai", "OpenAI", SLOW_CALLS):
        return False
    return type(client) is OpenAI and all(getattr(client, name) is None for name in CREDENTIALS)


def request_id_of(response: httpx2.Response) -> str | None:
    return next((response.headers[name] for name in REQUEST_ID if name in response.headers), None)


class Sent:
    """A call that was made before the stream began. This base class is for iterables whose call is unknown."""

    asked: Asked = NOTHING
    base_url: str | None = None
    request_id: str | None = None

    def cut(self) -> None:
        """Cancel the call at once, even while the model is silent. May be called from any thread."""

    def close(self) -> None:
        """Release the connection."""


class SentBySDK(Sent):
    """The call behind `respond(client.chat.completions.create(…, stream=True))`."""

    def __init__(self, stream: openai.Stream[Any]) -> None:
        response = stream.response
        self._response = response
        self._close: Callable[[], None] = stream.close
        self.asked = _asked(response)
        self.base_url = str(response.request.url).partition(ChatCompletions.path)[0]
        self.request_id = request_id_of(response)

    def cut(self) -> None:
        shut_down(self._response.extensions.get("network_stream"))

    def close(self) -> None:
        self._close()


def sent(iterable: object) -> Sent:
    return SentBySDK(iterable) if isinstance(iterable, openai.Stream) else Sent()


def is_of_sdk(error: Exception) -> bool:
    return isinstance(error, (openai.OpenAIError, httpx2.HTTPError))


def is_in_body(error: Exception) -> bool:
    """Whether the error was an event in the body, after the status 200."""
    return type(error) is openai.APIError and bool(error.body)


def broken(error: Exception) -> StreamError:
    """Our error for an exception in the middle of an answer."""
    if isinstance(error, openai.APIError) and is_in_body(error):
        return error_in_body(error.body)
    problem = translate(error)
    return UpstreamCut() if isinstance(problem, UpstreamUnreachable) else problem


def _asked(response: httpx2.Response) -> Asked:
    """Parse the request's body. Fields that cannot be read stay unknown."""
    try:
        body = msgspec.json.decode(response.request.content)
    except (ValueError, RuntimeError):
        return NOTHING
    if not isinstance(body, Mapping):
        return NOTHING
    model, messages, tools = body.get("model"), body.get("messages"), body.get("tools")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return Asked(
        models=(model,) if isinstance(model, str) else (),
        messages=messages if isinstance(messages, list) else None,
        tools=tools if isinstance(tools, list) else None,
        max_output_tokens=limit if isinstance(limit, int) else None,
    )


def strict_schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic model, in the form that OpenAI's strict mode accepts.

    The SDK exports no function for this, but a tool with these parameters has the same schema. The SDK keeps defaults,
    which OpenAI refuses. They have no meaning here, because all fields are required.
    """
    schema: dict[str, Any] = _without_defaults(openai.pydantic_function_tool(model)["function"].get("parameters"))
    return schema


def _without_defaults(schema: Any, *, has_names: bool = False) -> Any:
    """`has_names`: the keys are names of fields. One of the fields may be named `default`."""
    if isinstance(schema, list):
        return [_without_defaults(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in VALUES else _without_defaults(value, has_names=key in NAMED and not has_names)
        for key, value in schema.items()
        if has_names or key != "default"
    }
