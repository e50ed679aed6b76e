"""Serves a stream by Durable Streams 1.0, read only: `GET` and `HEAD /streams/<id>?offset=…`.

A stream belongs to its owner, so shared caches must not store it. Where the protocol lets a client cache a response, we
make the client revalidate each time (`private, no-cache`): then `authorize` runs each time, and a 304 makes it cheap.
"""

from __future__ import annotations

from flask import Response
from flask import after_this_request
from flask import request
from werkzeug.wrappers import Response as BaseResponse

from ...core.followed import Followed
from ...core.log.memory import MemoryLog
from ...errors import RequestError
from ...errors.statuses import CLIENT_CLOSED_REQUEST
from ...events import Event
from ...wire import durable
from ...wire import sse
from .. import response
from ..service import Service

SSE = "sse"
LONG_POLL = "long-poll"
JSON = "application/json"
CLOSED = "Stream-Closed"

Batches = list[tuple[int, list[Event]]]
"""Batches of events, each with the number of its first event."""

ALWAYS = {"X-Content-Type-Options": "nosniff", "Cross-Origin-Resource-Policy": "same-origin"}
"""`Cross-Origin-Resource-Policy` affects embedding only. Pages of `LLM_STREAM_ORIGINS` can still fetch by CORS."""

NOT_KEPT = "no-store"
ASKED_AGAIN = "private, no-cache"


def is_asked() -> bool:
    """Whether the request uses this protocol. `live` alone counts too: without an offset it is a protocol error."""
    return "offset" in request.args or request.args.get("live") in (SSE, LONG_POLL)


def answer(llm: Service, stream_id: str) -> Response:
    """Raises `RequestError`, and the exceptions of `Service.admit()`."""
    after_this_request(_with_headers)  # errors have these headers, too
    stream = llm.state.streams.find(llm.admit(), stream_id)
    return response.with_id(_read(llm, stream, _offset(), _live()), stream)


def _with_headers(answered: BaseResponse) -> BaseResponse:
    answered.headers.update(ALWAYS)
    return answered


def _read(llm: Service, stream: Followed, asked: str, live: str | None) -> Response:
    stream.looked_at()
    if request.method == "HEAD":
        return _metadata(stream)
    after = _position(stream, asked)
    if live == SSE:
        return _events(llm, stream, after)
    if live == LONG_POLL:
        return _waited_for(llm, stream, after, asked)
    return _so_far(stream, after, asked)


def _offset() -> str:
    """Raises `RequestError`."""
    offsets = request.args.getlist("offset")
    if len(offsets) == 1:
        (offset,) = offsets
        if offset in (durable.BEGINNING, durable.NOW) or durable.number_of(offset) is not None:
            return offset
    raise RequestError("The parameter 'offset' must be given once: -1, now, or an offset from an earlier answer.")


def _live() -> str | None:
    """Raises `RequestError`."""
    live = request.args.get("live")
    if live not in (None, SSE, LONG_POLL):
        raise RequestError(f"The parameter 'live' must be '{SSE}' or '{LONG_POLL}'.")
    return live


def _position(stream: Followed, offset: str) -> int:
    """The number of the last event that the reader already has or skips."""
    if offset == durable.NOW:
        return stream.log.last
    return stream.position(durable.number_of(offset) or 0)


def _metadata(stream: Followed) -> Response:
    ended = stream.log.ended  # before `last`: an event may come between the two
    answered = Response(mimetype=JSON)
    answered.headers |= {"Stream-Next-Offset": durable.offset(stream.log.last), "Cache-Control": NOT_KEPT}
    if ended:
        answered.headers[CLOSED] = "true"
    return answered


def _events(llm: Service, stream: Followed, after: int) -> Response:
    wire = durable.DurableWire(stream.log, after, request.args.get("cursor"))
    answered = response.event_stream(llm.state.streams, stream, request, wire, after=after)
    answered.headers["Content-Type"] = sse.MIMETYPE  # Flask has added a charset
    answered.headers["Cache-Control"] = f"private, {sse.HEADERS['Cache-Control']}"
    return answered


def _waited_for(llm: Service, stream: Followed, after: int, asked: str) -> Response:
    try:
        response.wait_for_more(llm.state.streams, stream, request, after)
    except ConnectionResetError:
        return Response(status=CLIENT_CLOSED_REQUEST)
    batches = _batches(stream.log, after)
    answered = _array(stream, batches, asked) if batches else _placed(Response(status=204), stream, after)
    if CLOSED not in answered.headers:
        answered.headers["Stream-Cursor"] = str(durable.next_cursor(request.args.get("cursor")))
    return answered


def _so_far(stream: Followed, after: int, asked: str) -> Response:
    if asked == durable.NOW:
        return _placed(Response(b"[]", mimetype=JSON), stream, after)
    batches = _batches(stream.log, after)
    answered = _array(stream, batches, asked) if batches else _array(stream, [(after + 1, [])], asked)
    if request.if_none_match.contains_weak(answered.get_etag()[0] or ""):
        answered.status_code = 304
        answered.set_data(b"")
    return answered


def _array(stream: Followed, batches: Batches, asked: str) -> Response:
    """The messages of `batches`. After `now` the response has no ETag, because a repeated request would differ."""
    first, events = batches[-1]
    last = first + len(events) - 1
    answered = _placed(Response(durable.messages(batches), mimetype=JSON), stream, last)
    if asked != durable.NOW:
        answered.headers["Cache-Control"] = ASKED_AGAIN
        answered.set_etag(f"{stream.id}:{asked}:{durable.offset(last)}{':c' if CLOSED in answered.headers else ''}")
    return answered


def _placed(answered: Response, stream: Followed, last: int) -> Response:
    """Add the headers for a reader that has all events up to number `last`."""
    answered.headers |= {"Stream-Next-Offset": durable.offset(last), "Stream-Up-To-Date": "true"}
    answered.headers["Cache-Control"] = NOT_KEPT
    if durable.is_closed(stream.log, last):
        answered.headers[CLOSED] = "true"
    return answered


def _batches(log: MemoryLog, after: int) -> Batches:
    """All events after number `after`. The end of a lost stream is a separate batch, because numbers are missing."""
    batches: Batches = []
    while (batch := log.after(after))[1]:
        batches.append(batch)
        after = batch[0] + len(batch[1]) - 1
    return batches
