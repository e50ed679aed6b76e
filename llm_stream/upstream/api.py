"""What differs between the upstream's APIs: the path, the body of a request, and how its answer is decoded."""

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
        """The answer is complete. Only the token counts and the end of the body may follow."""

    def feed(self, payload: bytes) -> list[Event]:
        """The events in the payload of one server-sent event. Raises `StreamError`."""

    def end(self) -> Ending:
        """How the answer ended. Raises `UpstreamError` if it is incomplete."""


class Api(Protocol):
    path: str
    """Below the base URL."""

    def body_of(self, request: ChatRequest, model: str | None) -> Body: ...

    def decoder(self, attempt: Attempt) -> Decoder:
        """It fills in `attempt` while it decodes."""
