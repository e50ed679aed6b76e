"""The HTTP views of an `LLMStream`."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from flask import Response
from flask import request
from flask import url_for
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import RequestEntityTooLarge

from . import access
from . import chat_request
from . import response
from .errors import ExpiredStream
from .errors import InvalidField
from .errors import NotJSON
from .errors import TooLarge
from .errors import new_error_id
from .stream import Stream
from .wire import sse
from .wire.sse import event_number

if TYPE_CHECKING:
    from .blueprint import LLMStream


logger = logging.getLogger("llm_stream")


def add_to(llm: LLMStream) -> None:
    """Give the blueprint its routes, and errors in JSON."""

    @llm.get("/chat")
    def chat() -> Response:
        wire = response.wire_of(request.args.get("format"))
        owner = llm.admit()
        if attached := llm.attached(owner, wire):
            return attached
        asked = chat_request.from_query(request.args, llm.state.settings, llm.state.model)
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
        url = url_for(".follow_stream", stream_id=stream.id)
        started = response.json_response({"id": stream.id, "url": url}, 201)
        started.headers["Location"] = url
        return started

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

    @llm.after_request
    def allow_origin(answer: Response) -> Response:
        return access.allow_origin(request, answer, llm.state.settings)

    @llm.errorhandler(HTTPException)
    def in_json(error: HTTPException) -> Response | HTTPException:
        """What `authorize` aborts with, in the one form that errors have; a response of its own stays as it is."""
        if error.response is not None or error.code is None or error.code < 400:
            return error
        code = error.name.lower().replace(" ", "_").replace("'", "")
        told = error.description if error.description != type(error).description else f"{error.name}."
        body = {"code": code, "message": told, "retryable": error.code >= 500, "error_id": new_error_id()}
        logger.info("request refused: %s error_id=%s", code, body["error_id"])
        answer = response.json_response({"error": body}, error.code)
        for name, value in error.get_headers():
            if name.lower() not in ("content-type", "content-length"):
                answer.headers[name] = value
        return answer


def _asked(llm: LLMStream) -> chat_request.ChatRequest:
    """The body of a POST. Raises `RequestError`."""
    settings = llm.state.settings
    if not request.is_json:
        raise NotJSON()
    limit = min(settings.max_request_bytes, request.max_content_length or settings.max_request_bytes)
    request.max_content_length = limit + 1  # a body that does not say how long it is would be cut, not refused
    try:
        body = request.get_data(cache=False)
    except RequestEntityTooLarge:
        body = None
    if body is None or len(body) > limit:
        raise TooLarge(f"The body is larger than {limit} bytes.")
    return chat_request.from_body(body, settings, llm.state.model)


def _position_in(stream: Stream) -> int:
    """The number of the last event that the reader has. Raises `InvalidField`."""
    name, after = "Last-Event-ID", request.headers.get("Last-Event-ID")
    if after is not None:
        stream_id, _, after = after.rpartition("-")
        if stream_id != stream.id:
            after = None  # of another stream: an EventSource that was given a new URL
    if after is None:
        name, after = "after", request.args.get("after", "0")
    number = event_number(after)
    if number is None:
        raise InvalidField(f"The field '{name}' must hold the number of an event.")
    return number
