"""The native routes: start, read, follow and stop a stream."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Response
from flask import request

from ...core.followed import Followed
from ...errors import ExpiredStream
from ...errors import InvalidField
from ...errors import UnknownStream
from ...requests.native import from_query
from ...wire import native
from ...wire import sse
from ...wire.sse import event_number
from .. import response
from ..service import Service
from . import durable
from .address import url_of

MAX_TOGETHER = 100
"""Streams per response. Their `after` parameters must fit in a request line."""


def add_to(llm: Service) -> None:

    @llm.get("/chat")
    def chat() -> Response:
        wire = response.wire_of(request.args.get("format"))
        owner = llm.admit()
        if resumed := llm.resume(owner, wire):
            return resumed
        chat_request = from_query(request.args, llm.state.settings, llm.state.model)
        if request.method == "HEAD":
            return Response(mimetype=sse.MIMETYPE, headers=sse.HEADERS)
        try:
            stream = llm.open(owner, chat_request)
        except ExpiredStream:
            return response.nothing_more()
        return response.answer(llm.state.streams, stream, request, wire)

    @llm.post("/chat")
    def chat_by_post() -> Response:
        wire = response.wire_of(request.args.get("format"))
        owner = llm.admit()
        if resumed := llm.resume(owner, wire):
            return resumed
        stream = llm.open(owner, llm.read_request())
        return response.answer(llm.state.streams, stream, request, wire)

    @llm.post("/streams")
    def start_stream() -> Response:
        owner = llm.admit()
        stream = llm.open(owner, llm.read_request())
        url = url_of(llm, stream)
        created = response.json_response({"id": stream.id, "url": url}, 201)
        created.headers["Location"] = url
        return response.with_id(created, stream)

    @llm.get("/streams")
    def follow_streams() -> Response:
        """Follow several streams in one response, because a browser opens only six HTTP/1.1 connections per site."""
        owner, streams, positions, statuses = llm.admit(), llm.state.streams, [], b""
        for stream_id, after in _requested_positions():
            try:
                stream = streams.find(owner, stream_id)
            except (UnknownStream, ExpiredStream) as error:
                statuses += native.status(stream_id, error.status, error.failure())
                continue
            if stream.log.ended and after >= stream.log.last:
                statuses += native.status(stream_id, 204)
            else:
                positions.append((stream, stream.position(after)))
        return response.combined_event_stream(streams, positions, statuses, request)

    @llm.get("/streams/<stream_id>")
    def follow_stream(stream_id: str) -> Response:
        if durable.is_asked():
            return durable.answer(llm, stream_id)
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


def _requested_positions() -> Iterable[tuple[str, int]]:
    """The streams and numbers in `?after=<stream>-<n>`, given once for each stream. Raises `InvalidField`."""
    event_ids = request.args.getlist("after")
    if not 1 <= len(event_ids) <= MAX_TOGETHER:
        raise InvalidField(f"The field 'after' must be given once for each stream, at most {MAX_TOGETHER} times.")
    return {
        stream_id: _number(after, "after") for stream_id, _, after in (id.rpartition("-") for id in event_ids)
    }.items()


def _position_in(stream: Followed) -> int:
    """The number of the last event that the reader has. Raises `InvalidField`."""
    name, after = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if after is not None:
        stream_id, _, after = after.rpartition("-")
        if stream_id != stream.id:
            after = None  # another stream's id: the page gave its EventSource a new URL
    if after is None:
        name, after = "after", request.args.get("after", "0")
    return _number(after, name)


def _number(text: str, field: str) -> int:
    """Raises `InvalidField`."""
    number = event_number(text)
    if number is None:
        raise InvalidField(f"The field '{field}' must be the number of an event.")
    return number
