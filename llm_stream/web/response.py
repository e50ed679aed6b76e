"""Turns a stream into an HTTP response: an event stream, a JSON answer, or an error with its own status."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from types import GeneratorType
from typing import Any
from typing import cast

import msgspec
from flask import Request
from flask import Response
from flask import current_app
from flask import stream_with_context

from ..core.followed import Followed
from ..core.reader import Reader
from ..core.streams import Streams
from ..errors import InvalidField
from ..errors import LLMStreamError
from ..errors.statuses import CLIENT_CLOSED_REQUEST
from ..errors.statuses import status_of
from ..events import Event
from ..events import Failure
from ..server.connection import connection_of
from ..server.gunicorn import Pieces
from ..usage.logging import named
from ..usage.logging import one_line
from ..wire import Wire
from ..wire import sse
from ..wire.answer import Snapshot
from ..wire.answer import failure_of
from ..wire.html import HtmlWire
from ..wire.native import NativeWire
from ..wire.text import TextWire
from ..wire.turn import answer_of
from . import metrics
from .fragments import renderer

logger = logging.getLogger("llm_stream")

STREAM_ID = "x-llm-stream-id"

WIRES: dict[str, type[Wire]] = {"native": NativeWire, "text": TextWire, "html": HtmlWire}


def answer(streams: Streams, stream: Followed, request: Request, wire: Wire, *, after: int = 0) -> Response:
    """Respond with `stream` in the format that `request` accepts.

    A GET starts its event stream at once, because `EventSource` cannot see a status. A POST waits for the first
    content, so that a failure before it gets an HTTP error status.
    """
    if wants_json(request):
        return whole_answer(streams, stream, request, after=after)
    refuse = failure_response if request.method == "POST" and not after else None
    return event_stream(streams, stream, request, wire, after=after, refuse=refuse)


def event_stream(
    streams: Streams,
    stream: Followed,
    request: Request,
    wire: Wire,
    *,
    after: int = 0,
    refuse: Callable[[Failure], Response] | None = None,
) -> Response:
    """The events after number `after`, written by `wire`.

    With `refuse`, wait for the first content, `LLM_STREAM_STATUS_HOLD_S` at most. If a failure comes first, `refuse`
    builds the response from it.
    """
    reader = _reader(streams, stream, request, after)
    try:
        if refuse is not None:
            events = reader.wait_for_content(stream.settings.status_hold_s)
            if events and isinstance(events[0], Failure):
                reader.close()
                return with_id(refuse(events[0]), stream)
        return with_id(streamed(reader.written(wire), reader.close), stream)
    except BaseException:
        reader.close()
        raise


def whole_answer(
    streams: Streams,
    stream: Followed,
    request: Request,
    *,
    after: int = 0,
    render: Callable[[Sequence[Event]], Response] | None = None,
) -> Response:
    """Wait for the end of the stream, then answer in JSON. `render` gets all events; the default is our own format."""
    reader = _reader(streams, stream, request, after)
    try:
        for _ in reader.batches():
            pass
    except ConnectionResetError:
        return Response(status=CLIENT_CLOSED_REQUEST)
    finally:
        reader.close()
    return with_id((render or _answer_response)(stream.log.events), stream)


def wait_for_more(streams: Streams, stream: Followed, request: Request, after: int) -> None:
    """Wait until an event after number `after` arrives, the stream ends, or a heartbeat is due.

    The waiting client counts as a reader. Raises `ConnectionResetError` when the client has disconnected.
    """
    reader = _reader(streams, stream, request, after)
    try:
        next(reader.batches(), None)
    finally:
        reader.close()


def combined_event_stream(
    streams: Streams, positions: Sequence[tuple[Followed, int]], statuses: bytes, request: Request
) -> Response:
    """Send `statuses`, then the events of several streams, each after the number in its position."""
    readers = streams.follow_together(positions, connection=connection_of(request.environ))
    return streamed(readers.written(NativeWire(), statuses), readers.close)


def _reader(streams: Streams, stream: Followed, request: Request, after: int) -> Reader:
    return streams.follow(stream, after=after, connection=connection_of(request.environ))


def streamed(written: Iterator[bytes], close: Callable[[], None]) -> Response:
    pieces = cast("GeneratorType[bytes, None, None]", stream_with_context(written))
    body = Pieces(pieces, close)
    response = _streamed_class(current_app.response_class)(body, mimetype=sse.MIMETYPE, headers=sse.HEADERS)
    response.direct_passthrough = True  # the pieces are bytes, so Werkzeug need not encode them
    return response


class _Streamed(Response):
    """An event stream whose whole body an app's hook can read, if the hook inspects every response."""

    def get_data(self, as_text: bool = False) -> Any:
        """Waits for the end of the stream and returns all of it."""
        self.direct_passthrough = False
        return super().get_data(as_text)  # type: ignore[call-overload]


_streamed_classes: dict[type[Response], type[Response]] = {Response: _Streamed}


def _streamed_class(response_class: type[Response]) -> type[Response]:
    """A subclass of `_Streamed` and of the app's own response class."""
    if response_class not in _streamed_classes:
        _streamed_classes[response_class] = type("Streamed", (_Streamed, response_class), {})
    return _streamed_classes[response_class]


def nothing_more(stream: Followed | None = None) -> Response:
    """204, which stops an `EventSource` from reconnecting. `no-store`, because caches may store a 204."""
    response = Response(status=204, headers={"Cache-Control": "no-store"})
    return with_id(response, stream) if stream else response


def with_id(response: Response, stream: Followed) -> Response:
    """Add the stream's id to a response, so that the app's own `after_request` can find the stream."""
    response.headers[STREAM_ID] = stream.id
    return response


def snapshot(stream: Followed) -> Response:
    """The answer so far, as JSON."""
    stream.looked_at()
    return with_id(json_response(answer_of(stream.log.events)), stream)


def failure_response(failure: Failure, answer: Snapshot | None = None) -> Response:
    """An error as JSON, with the HTTP status of its code and the fields of a partial `answer`."""
    body = msgspec.to_builtins(failure)
    retry_after = body.pop("retry_after", None)
    fields = msgspec.to_builtins(answer) if answer else {}
    return refusal(fields | {"error": body}, status_of(failure.code), retry_after)


def refusal(body: Any, status: int, retry_after: float | None) -> Response:
    response = json_response(body, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    return response


def error_response(error: LLMStreamError) -> Response:
    log_refusal(error)
    return failure_response(error.failure())


def log_refusal(error: LLMStreamError) -> None:
    code, error_id, words = error.code, error.error_id, one_line(str(error))
    logger.info("request refused: %s error_id=%s: %s", code, error_id, words, extra=named(code, error_id))
    metrics.count_refusal(code)


def json_response(body: Any, status: int = 200) -> Response:
    response = Response(msgspec.json.encode(body), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def wants_json(request: Request) -> bool:
    accepted = request.accept_mimetypes
    return accepted.best_match([sse.MIMETYPE, "application/json"]) == "application/json"


def wire_of(name: str | None, template: str | None = None) -> Wire:
    """Raises `InvalidField`, and `ValueError` for a template with a format other than `html`."""
    if template is not None:
        if name != "html":
            raise ValueError("a template needs format='html'")
        return HtmlWire(renderer(template))
    try:
        return WIRES[name or "native"]()
    except KeyError:
        raise InvalidField(f"The parameter 'format' must be one of: {', '.join(WIRES)}.") from None


def _answer_response(events: Sequence[Event]) -> Response:
    answer = answer_of(events)
    failure = failure_of(events)
    return failure_response(failure, answer) if failure else json_response(answer)
