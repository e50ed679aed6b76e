"""The routes of our own: a stream is started, read, followed, stopped."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response
from flask import request

from ...chat_request import ChatRequest
from ...core.stream import Stream
from ...errors import ExpiredStream
from ...errors import InvalidField
from ...errors import UnknownStream
from ...requests.native import from_body
from ...requests.native import from_query
from ...wire import native
from ...wire import sse
from ...wire.sse import event_number
from .. import body
from .. import response
from ..service import Service
from .address import url_of

MAX_TOGETHER = 100
"""Streams in one response; their places must fit in a request line."""


def add_to(llm: Service) -> None:

    @llm.get("/chat")
    def chat() -> Response:
        wire = response.wire_of(request.args.get("format"))
        owner = llm.admit()
        if attached := llm.attached(owner, wire):
            return attached
        asked = from_query(request.args, llm.state.settings, llm.state.model)
        if request.method == "HEAD":
            return Response(mimetype=sse.MIMETYPE)
        try:
            stream = llm.open(owner, asked)
        except ExpiredStream:
            return response.nothing_more()
        return response.answer(llm.state.streams, stream, request, wire)

    @llm.post("/chat")
    def chat_by_post() -> Response:
        wire = response.wire_of(request.args.get("format"))
        owner = llm.admit()
        if attached := llm.attached(owner, wire):
            return attached
        stream = llm.open(owner, _asked(llm))
        return response.answer(llm.state.streams, stream, request, wire)

    @llm.post("/streams")
    def start_stream() -> Response:
        owner = llm.admit()
        stream = llm.open(owner, _asked(llm))
        url = url_of(llm, stream)
        started = response.json_response({"id": stream.id, "url": url}, 201)
        started.headers["Location"] = url
        return started

    @llm.get("/streams")
    def follow_streams() -> Response:
        """Several in one response: a browser opens six connections to a site, over all its tabs."""
        owner, streams, places, statuses = llm.admit(), llm.state.streams, [], b""
        for stream_id, after in _places():
            try:
                stream = streams.find(owner, stream_id)
            except (UnknownStream, ExpiredStream) as error:
                statuses += native.status(stream_id, error.status, error.failure())
                continue
            if stream.log.ended and after >= len(stream.log):
                statuses += native.status(stream_id, 204)
            else:
                places.append((stream, min(after, len(stream.log))))
        return response.together(streams, places, statuses, request)

    @llm.get("/streams/<stream_id>")
    def follow_stream(stream_id: str) -> Response:
        stream = llm.state.streams.find(llm.admit(), stream_id)
        if response.wants_json(request):
            return response.snapshot(stream)
        wire = response.wire_of(request.args.get("format"))
        return llm.follow(stream, _position_in(stream), wire)

    @llm.delete("/streams/<stream_id>")
    @llm.post("/streams/<stream_id>/cancel")
    def cancel_stream(stream_id: str) -> Response:
        llm.state.streams.find(llm.admit(), stream_id).stop("cancelled")
        return Response(status=204)


def _asked(llm: Service) -> ChatRequest:
    """The body of a POST. Raises `RequestError`."""
    settings = llm.state.settings
    return from_body(body.read_json(settings), settings, llm.state.model)


def _places() -> Iterable[tuple[str, int]]:
    """`?after=<stream>-<n>`, once for each stream. Raises `InvalidField`."""
    asked = request.args.getlist("after")
    if not 1 <= len(asked) <= MAX_TOGETHER:
        raise InvalidField(f"The field 'after' must be given once for each stream, {MAX_TOGETHER} times at most.")
    return {stream_id: _number(after, "after") for stream_id, _, after in (id.rpartition("-") for id in asked)}.items()


def _position_in(stream: Stream) -> int:
    """The number of the last event that the reader has. Raises `InvalidField`."""
    name, after = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if after is not None:
        stream_id, _, after = after.rpartition("-")
        if stream_id != stream.id:
            after = None  # of another stream: an EventSource that was given a new URL
    if after is None:
        name, after = "after", request.args.get("after", "0")
    return _number(after, name)


def _number(text: str, field: str) -> int:
    """Raises `InvalidField`."""
    number = event_number(text)
    if number is None:
        raise InvalidField(f"The field '{field}' must hold the number of an event.")
    return number
