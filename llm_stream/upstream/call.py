"""One HTTP request to the upstream: bytes → payloads → events."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterator
from contextlib import closing

import httpx2

from ..chat_request import ChatRequest
from ..errors import StreamError
from ..errors import UpstreamCut
from ..errors import UpstreamGarbled
from ..errors import UpstreamUnreachable
from ..events import Event
from .ending import Ending
from .endpoint import Endpoint
from .lifeline import Lifeline
from .payloads import Payloads
from .refusals import is_answer
from .refusals import retry_after_of
from .refusals import translate
from .sdk import request_id_of
from .source import Attempt
from .source import Waits

DONE = b"[DONE]"

Batch = list[Event]


class BrokenOff(UpstreamCut):
    """The connection broke in the middle of the answer. It did not end cleanly but too early."""


class Call:
    """One HTTP request to the upstream, from the first byte sent to the last byte read."""

    def __init__(self, endpoint: Endpoint, request: ChatRequest, attempt: Attempt) -> None:
        """The call fills in `attempt`."""
        self.lifeline = Lifeline(self._on_connected)
        self._decoder = endpoint.api.decoder(attempt)
        self._attempt = attempt
        self._endpoint = endpoint
        self._request = request
        self._payloads = Payloads()
        self._headers: httpx2.Headers | None = None
        self._ending: Ending | None = None
        self._error: StreamError | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the answer is complete. Only the token counts and the end of the body may follow."""
        return self._decoder.is_whole

    def _on_connected(self) -> None:
        """The call has a connection now, so the provider may be working on the request."""
        self._attempt.accepted = True

    def batches(self) -> Generator[Batch | Waits | Ending, None, None]:
        try:
            with self.lifeline:
                response = self._endpoint.post(self._endpoint.api.body_of(self._request, self._attempt.model))
            with closing(response):
                self._headers = response.headers
                self._attempt.request_id = request_id_of(response)
                if stream := response.extensions.get("network_stream"):
                    self.lifeline.hold(stream)
                yield from self._events(response, Waits(getattr(stream, "watchable", None)))
        except StreamError:
            raise
        except Exception as error:
            if self._headers is None:
                self._attempt.request_id = getattr(error, "request_id", None)
                if is_answer(error):  # a provider that did not answer may still be working on it
                    self._attempt.accepted = False
                raise translate(error) from error
            yield from self._broken(translate(error), error)
        finally:
            self.lifeline.let_go()

    def _events(self, response: httpx2.Response, waits: Waits) -> Iterator[Batch | Waits | Ending]:
        """Read beyond `[DONE]` to the end of the body, because only then can the connection be reused."""
        payloads = self._payloads
        for chunk in _body_of(response):
            if not chunk:
                yield waits
                continue
            if self._ending is None:
                yield from self._decoded(payloads.feed(chunk))
        self.lifeline.let_go()  # the connection may serve another call from here on
        if self._ending is None:
            yield from self._decoded([*payloads.end(), DONE])

    def _decoded(self, payloads: list[bytes]) -> Iterator[Batch | Ending]:
        if batch := self._decode(payloads):
            yield batch
        if self._error:
            raise self._error
        if self._ending:
            yield self._ending

    def _broken(self, problem: StreamError, error: Exception) -> Iterator[Batch | Ending]:
        """Deliver an answer that was complete before the connection broke, or raise `StreamError`."""
        if self._ending is not None:
            return
        rest = self._decode(self._payloads.end())
        if self._error and not isinstance(self._error, UpstreamGarbled):
            raise self._error  # more specific than the broken connection
        if not self.is_whole:
            raise (BrokenOff() if isinstance(problem, UpstreamUnreachable) else problem) from error
        if rest:
            yield rest
        yield self._ending or self._decoder.end()

    def _decode(self, payloads: list[bytes]) -> Batch:
        """The events of one read. An error is kept in `_error`, so that the events before it are delivered first."""
        batch: Batch = []
        try:
            for payload in payloads:
                if payload.startswith(DONE):
                    self._ending = self._decoder.end()
                    break
                batch += self._decoder.feed(payload)
        except StreamError as error:
            self._error = error
            if not self._attempt.accepted and error.retryable:
                error.retry_after = retry_after_of(self._headers or {})
        return batch


def _body_of(response: httpx2.Response) -> Iterator[bytes]:
    """The bytes of each read."""
    if response.headers.get("content-encoding", "identity") == "identity":
        return iter(response.stream)  # type: ignore[arg-type]
    return response.iter_bytes()  # the server compressed it although we asked for identity
