"""A stream becomes an HTTP response: an event stream, one JSON answer, or an honest error."""

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

from ..core.reader import Reader
from ..core.stream import Stream
from ..core.streams import Streams
from ..errors import InvalidField
from ..errors import LLMStreamError
from ..errors.statuses import CLIENT_CLOSED_REQUEST
from ..errors.statuses import status_of
from ..events import Event
from ..events import Failure
from ..server.gunicorn import Pieces
from ..usage.logging import named
from ..wire import Wire
from ..wire import sse
from ..wire.answer import Answer
from ..wire.answer import answer_of
from ..wire.native import NativeWire
from ..wire.text import TextWire

logger = logging.getLogger("llm_stream")

WIRES: dict[str, type[Wire]] = {"native": NativeWire, "text": TextWire}


def answer(streams: Streams, stream: Stream, request: Request, wire: Wire, *, after: int = 0) -> Response:
    """Follow `stream` into a response, in the form that `request` asks for.

    A GET is an event stream from its first moment, because `EventSource` cannot see a status. A POST is held until
    the upstream has said something, so that its refusal can be one.
    """
    if wants_json(request):
        return whole_answer(streams, stream, request, after=after)
    refuse = failure_response if request.method == "POST" and not after else None
    return event_stream(streams, stream, request, wire, after=after, refuse=refuse)


def event_stream(
    streams: Streams,
    stream: Stream,
    request: Request,
    wire: Wire,
    *,
    after: int = 0,
    refuse: Callable[[Failure], Response] | None = None,
) -> Response:
    """The events after number `after` on `wire`.

    With `refuse` the status is held back, `LLM_STREAM_STATUS_HOLD_S` at most: where a failure comes first, `refuse`
    makes the response of it.
    """
    reader = _reader(streams, stream, request, after)
    try:
        if refuse is not None:
            events = reader.wait_for_content(stream.settings.status_hold_s)
            if events and isinstance(events[0], Failure):
                reader.close()
                return refuse(events[0])
        return _event_stream_of(reader.written(wire), reader.close)
    except BaseException:
        reader.close()
        raise


def whole_answer(
    streams: Streams,
    stream: Stream,
    request: Request,
    *,
    after: int = 0,
    render: Callable[[Sequence[Event]], Response] | None = None,
) -> Response:
    """Wait for the end, then one JSON answer: by `render`, which is given all events, or in the form of our own."""
    reader = _reader(streams, stream, request, after)
    try:
        for _ in reader.batches():
            pass
    except ConnectionResetError:
        return Response(status=CLIENT_CLOSED_REQUEST)
    finally:
        reader.close()
    return (render or _in_json)(stream.log.after(0))


def together(streams: Streams, places: Sequence[tuple[Stream, int]], statuses: bytes, request: Request) -> Response:
    """The events of several streams, each after the number beside it; first `statuses`, of those that have none."""
    readers = streams.follow_together(places, connection=_connection_of(request))
    return _event_stream_of(readers.written(NativeWire(), statuses), readers.close)


def _reader(streams: Streams, stream: Stream, request: Request, after: int) -> Reader:
    return streams.follow(stream, after=after, connection=_connection_of(request))


def _event_stream_of(written: Iterator[bytes], close: Callable[[], None]) -> Response:
    pieces = cast("GeneratorType[bytes, None, None]", stream_with_context(written))
    body = Pieces(pieces, close)
    made = _streamed(current_app.response_class)(body, mimetype=sse.MIMETYPE, headers=sse.HEADERS)
    made.direct_passthrough = True  # it is bytes: nobody needs to look at each piece again
    return made


class _Streamed(Response):
    """An event stream, whose body can also be had in one piece: by a hook of the host's that looks at each body."""

    def get_data(self, as_text: bool = False) -> Any:
        """All of the stream, once it has ended."""
        self.direct_passthrough = False
        return super().get_data(as_text)  # type: ignore[call-overload]


_streamed_classes: dict[type[Response], type[Response]] = {Response: _Streamed}


def _streamed(response_class: type[Response]) -> type[Response]:
    """The same for the class of responses that the host app has chosen."""
    if response_class not in _streamed_classes:
        _streamed_classes[response_class] = type("Streamed", (_Streamed, response_class), {})
    return _streamed_classes[response_class]


def nothing_more() -> Response:
    """204, which makes an `EventSource` stop asking."""
    return Response(status=204)


def snapshot(stream: Stream) -> Response:
    """What there is of the answer so far."""
    stream.looked_at()
    return json_response(answer_of(stream.log.after(0)))


def failure_response(failure: Failure, answer: Answer | None = None) -> Response:
    """The JSON form of an error, with the status that belongs to its code, and what there is of the answer."""
    body = msgspec.to_builtins(failure)
    retry_after = body.pop("retry_after", None)
    kept = msgspec.to_builtins(answer) if answer else {}
    return refusal(kept | {"error": body}, status_of(failure.code), retry_after)


def refusal(body: Any, status: int, retry_after: float | None) -> Response:
    response = json_response(body, status)
    if retry_after is not None:
        response.headers["Retry-After"] = str(math.ceil(retry_after))
    return response


def error_response(error: LLMStreamError) -> Response:
    log_refusal(error)
    return failure_response(error.failure())


def log_refusal(error: LLMStreamError) -> None:
    code, error_id = error.code, error.error_id
    logger.info("request refused: %s error_id=%s: %s", code, error_id, error, extra=named(code, error_id))


def json_response(body: Any, status: int = 200) -> Response:
    response = Response(msgspec.json.encode(body), status, mimetype="application/json")
    response.headers["Cache-Control"] = "no-store"
    return response


def wants_json(request: Request) -> bool:
    accepted = request.accept_mimetypes
    return accepted.best_match([sse.MIMETYPE, "application/json"]) == "application/json"


def wire_of(name: str | None) -> Wire:
    """Raises `InvalidField`."""
    try:
        return WIRES[name or "native"]()
    except KeyError:
        raise InvalidField(f"The parameter 'format' must be one of: {', '.join(WIRES)}.") from None


def _in_json(events: Sequence[Event]) -> Response:
    whole = answer_of(events)
    for event in events[-3:]:
        if isinstance(event, Failure):
            return failure_response(event, whole)
    return json_response(whole)


def _connection_of(request: Request) -> Any:
    """The client's socket, under gunicorn and under Werkzeug's own server."""
    return request.environ.get("gunicorn.socket") or request.environ.get("werkzeug.socket")
