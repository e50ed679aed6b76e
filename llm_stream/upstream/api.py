"""The differences between the upstream's APIs: the path, the body of a request, and the decoder of an answer."""

from __future__ import annotations

from typing import Any
from typing import Protocol

from ..chat_request import ChatRequest
from ..events import Event
from .ending import Ending
from .source import Attempt

Body = dict[str, Any]


class Decoder(Protocol):
    """Decodes one answer."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete. Only the token counts and the end of the body may follow."""

    def feed(self, payload: bytes) -> list[Event]:
        """The events in the payload of one server-sent event. Raises `StreamError`."""

    def end(self) -> Ending:
        """The ending of the answer. Raises `UpstreamError` if the answer is incomplete."""


class Api(Protocol):
    path: str
    """Below the base URL."""

    def body_of(self, request: ChatRequest, model: str | None) -> Body: ...

    def decoder(self, attempt: Attempt) -> Decoder:
        """A decoder that fills in `attempt` while it decodes."""
