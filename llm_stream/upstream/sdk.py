"""What a stream of the SDK tells of its call: `respond(client.chat.completions.create(…, stream=True))`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

import httpx2
import msgspec
import openai

from ..errors import StreamError
from ..errors import UpstreamCut
from ..errors import UpstreamUnreachable
from ..server import sockets
from .endpoint import PATH
from .endpoint import request_id_of
from .refusals import error_in_body
from .refusals import translate
from .source import NOTHING
from .source import Asked


class Sent:
    """A call that was made before the stream began. Of any other iterable nothing is known."""

    asked: Asked = NOTHING
    base_url: str | None = None
    request_id: str | None = None

    def cut(self) -> None:
        """End the call at once, also while the model is silent. May be called from any thread."""

    def close(self) -> None:
        """Let go of the connection."""


class SentBySDK(Sent):
    def __init__(self, stream: openai.Stream[Any]) -> None:
        response = stream.response
        self._response = response
        self._close: Callable[[], None] = stream.close
        self.asked = _asked(response)
        self.base_url = str(response.request.url).partition(PATH)[0]
        self.request_id = request_id_of(response)

    def cut(self) -> None:
        network = self._response.extensions.get("network_stream")
        connection = network.get_extra_info("socket") if network is not None else None
        if connection is not None:
            sockets.shut_down(connection)

    def close(self) -> None:
        self._close()


def sent(iterable: object) -> Sent:
    return SentBySDK(iterable) if isinstance(iterable, openai.Stream) else Sent()


def is_of_sdk(error: Exception) -> bool:
    return isinstance(error, (openai.OpenAIError, httpx2.HTTPError))


def broken(error: Exception) -> StreamError:
    """Our error for one in the middle of an answer."""
    if type(error) is openai.APIError and error.body:
        return error_in_body(error.body)
    problem = translate(error)
    return UpstreamCut() if isinstance(problem, UpstreamUnreachable) else problem


def _asked(response: httpx2.Response) -> Asked:
    """Read from the body of the request; what cannot be read is not known."""
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
