"""One HTTP request to the upstream: bytes → data → events."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import closing

import httpx2

from ..chat_request import ChatRequest
from ..errors import StreamError
from ..errors import UpstreamCut
from ..errors import UpstreamGarbled
from ..errors import UpstreamUnreachable
from ..events import Event
from ..source import Waits
from .chunks import ChunkDecoder
from .endpoint import Body
from .endpoint import Endpoint
from .lifeline import Lifeline
from .payloads import Payloads
from .refusals import is_answer
from .refusals import retry_after_of
from .refusals import translate

DONE = b"[DONE]"

REQUEST_ID = ("x-generation-id", "x-request-id")
"""Where a provider says its own name of a call; OpenRouter's exports know the first."""

Batch = list[Event]


class BrokenOff(UpstreamCut):
    """The connection broke in the middle of the answer, as against an answer that ended too early."""


class Call:
    """One HTTP request to the upstream, from the first byte sent to the last byte read."""

    def __init__(self, endpoint: Endpoint, request: ChatRequest, model: str) -> None:
        self.lifeline = Lifeline()
        self.decoder = ChunkDecoder()
        self.base_url = endpoint.base_url
        self.request_id: str | None = None
        self._endpoint = endpoint
        self._request = request
        self._model = model
        self._payloads = Payloads()
        self._headers: httpx2.Headers | None = None
        self._refused = False
        self._done = False
        self._error: StreamError | None = None

    @property
    def accepted(self) -> bool:
        """The request is on its way and was not refused: the provider may be at work on it."""
        return self.lifeline.connected and not self._refused and not self.decoder.refused

    def batches(self) -> Iterator[Batch | Waits]:
        try:
            with self.lifeline:
                response = self._endpoint.post(_body(self._endpoint, self._request, self._model))
            with closing(response):
                self._headers = response.headers
                self.request_id = _first_of(response.headers, REQUEST_ID)
                if stream := response.extensions.get("network_stream"):
                    self.lifeline.hold(stream)
                yield from self._events(response, Waits(getattr(stream, "watchable", None)))
        except StreamError:
            raise
        except Exception as error:
            if self._headers is None:
                self.request_id = getattr(error, "request_id", None)
                self._refused = is_answer(error)  # who has said nothing may be at work all the same
                raise translate(error) from error
            yield from self._broken(translate(error), error)
        finally:
            self.lifeline.let_go()

    def _events(self, response: httpx2.Response, waits: Waits) -> Iterator[Batch | Waits]:
        """Read to the end of the body, past `[DONE]`: only then is the connection used again."""
        payloads = self._payloads
        for chunk in _body_of(response):
            if not chunk:
                yield waits
                continue
            if self._done:
                continue
            if batch := self._decode(payloads.feed(chunk)):
                yield batch
            if self._error:
                raise self._error
        self.lifeline.let_go()  # from here on the connection may serve another call
        if not self._done:
            yield self._decode([*payloads.end(), DONE])
            if self._error:
                raise self._error

    def _broken(self, problem: StreamError, error: Exception) -> Iterator[Batch]:
        """Deliver an answer that was whole before the connection broke. Raises `StreamError` if it was not."""
        if self._done:
            return
        rest = self._decode(self._payloads.end())
        if self._error and not isinstance(self._error, UpstreamGarbled):
            raise self._error  # it says more than the broken connection
        if self.decoder.finish_reason is None:
            raise (BrokenOff() if isinstance(problem, UpstreamUnreachable) else problem) from error
        yield rest if self._done else [*rest, *self.decoder.end()]

    def _decode(self, payloads: list[bytes]) -> Batch:
        """The events in the data of one read. An error ends the answer, but not before what came ahead of it."""
        batch: Batch = []
        try:
            for payload in payloads:
                if payload.startswith(DONE):
                    self._done = True
                    batch += self.decoder.end()
                    break
                batch += self.decoder.feed(payload)
        except StreamError as error:
            self._error = error
            if self.decoder.refused and error.retryable:
                error.retry_after = retry_after_of(self._headers or {})
        return batch


def _body(endpoint: Endpoint, request: ChatRequest, model: str) -> Body:
    body: Body = {
        **request.options,
        "model": model,
        "messages": request.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        endpoint.output_limit_name: request.max_output_tokens,
    }
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.tools is not None:
        body["tools"] = request.tools
    return body


def _first_of(headers: httpx2.Headers, names: Sequence[str]) -> str | None:
    return next((headers[name] for name in names if name in headers), None)


def _body_of(response: httpx2.Response) -> Iterator[bytes]:
    """The bytes of each read."""
    if response.headers.get("content-encoding", "identity") == "identity":
        return iter(response.stream)  # type: ignore[arg-type]
    return response.iter_bytes()  # it was compressed all the same
