"""OpenAI's Responses API: create a response, and follow, stop or delete it by its id."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import msgspec
from flask import Response
from flask import request

from ...core.followed import Followed
from ...errors import ExpiredStream
from ...errors import InvalidField
from ...errors import KeyConflict
from ...errors import UnknownStream
from ...events import Event
from ...requests import WrongParameter
from ...requests.responses import Earlier
from ...requests.responses import ResponseRequest
from ...requests.responses import UnknownResponse
from ...requests.responses import from_body
from ...settings import Settings
from ...wire.openai import failure_in
from ...wire.response_output import APPROVAL
from ...wire.response_output import approval_request
from ...wire.response_output import stream_of
from ...wire.responses import PREFIX
from ...wire.responses import ResponsesWire
from ...wire.responses import response_of
from .. import access
from .. import body
from .. import response
from ..registration import Views
from ..service import Service
from .openai_form import add_headers
from .openai_form import of_failure

END_S = 2.0
"""How long a request waits for the end of a stream that it stops or continues.

The client may have read the end at another worker before this worker has received it.
"""


class NoSuchResponse(WrongParameter):
    """This owner has no response with this id."""

    status = 404
    code = "response_not_found"


class Kept(msgspec.Struct):
    """The part of a request that is stored with its stream."""

    asked: dict[str, Any]
    messages: list[dict[str, Any]] = []
    """Empty if the request said `store: false`."""


def add_to(v1: Views, llm: Service) -> None:

    @v1.post("/responses")
    def create_response() -> Response:
        state, owner = llm.state, llm.admit()
        parsed = from_body(
            body.read_json(state.settings),
            state.settings,
            state.model,
            find=EarlierItems(llm, owner).find,
            find_response=partial(_find_earlier, llm, owner),
            key=request.headers.get("Idempotency-Key"),
            may_instruct=not access.is_browser(request),
        )
        stream = llm.open(
            owner, parsed.request, settings=_settings_of(parsed, state.settings), kept_request=_kept_request(parsed)
        )
        return add_headers(llm, _answer(llm, stream, parsed), stream, parsed.left_out, PREFIX)

    @v1.get("/responses/<response_id>")
    def retrieve_response(response_id: str) -> Response:
        stream = _find(llm, llm.admit(), response_id)
        if request.args.get("stream") != "true":
            stream.looked_at()
            return _so_far(stream)
        wire = ResponsesWire(_kept(stream).asked, starting_after=_starting_after(), ended_at=partial(_ended_at, stream))
        return response.event_stream(llm.state.streams, stream, request, wire)

    @v1.post("/responses/<response_id>/cancel")
    def cancel_response(response_id: str) -> Response:
        stream = _find(llm, llm.admit(), response_id)
        stream.stop("cancelled")
        stream.settled.wait(END_S)
        return _so_far(stream)

    @v1.delete("/responses/<response_id>")
    def delete_response(response_id: str) -> Response:
        llm.state.streams.delete(_find(llm, llm.admit(), response_id))
        return response.json_response({"id": response_id, "object": "response", "deleted": True})


def _answer(llm: Service, stream: Followed, parsed: ResponseRequest) -> Response:
    if not stream.request:  # a request to another route has used this key
        raise KeyConflict()
    streams = llm.state.streams
    if parsed.stream:
        wire = ResponsesWire(_kept(stream).asked, ended_at=partial(_ended_at, stream))
        return response.event_stream(streams, stream, request, wire, refuse=partial(of_failure, stream))
    if parsed.background:
        return _so_far(stream)
    return response.whole_answer(streams, stream, request, render=partial(_whole, stream))


def _so_far(stream: Followed) -> Response:
    return response.with_id(response.json_response(_resource(stream)), stream)


def _whole(stream: Followed, events: Sequence[Event]) -> Response:
    """The response, or an error with its own HTTP status. A cancelled response is not an error."""
    failure = failure_in(events)
    if failure and stream.ending != "cancelled":
        return of_failure(stream, failure)
    return response.json_response(_resource(stream))


def _settings_of(parsed: ResponseRequest, settings: Settings) -> Settings | None:
    """Settings for a background response, which runs without readers."""
    if not parsed.background:
        return None
    return replace(settings, on_disconnect="finish", finish_s=settings.total_s)


# Stored requests


def _kept_request(parsed: ResponseRequest) -> bytes:
    return msgspec.json.encode(Kept(parsed.asked, list(parsed.messages) if parsed.store else []))  # type: ignore[arg-type]


def _kept(stream: Followed) -> Kept:
    return msgspec.json.decode(stream.request, type=Kept)


def _find(llm: Service, owner: str, response_id: str) -> Followed:
    """A stored response of this owner. Raises `NoSuchResponse`."""
    try:
        stream = llm.state.streams.find(owner, response_id.removeprefix(PREFIX))
    except (UnknownStream, ExpiredStream) as error:
        raise NoSuchResponse(f"Response with id '{response_id[:100]}' not found.", "response_id") from error
    if not stream.request or not _kept(stream).messages:
        raise NoSuchResponse(f"Response with id '{response_id[:100]}' was not stored.", "response_id")
    return stream


def _find_earlier(llm: Service, owner: str, response_id: str) -> Earlier:
    try:
        stream = _find(llm, owner, response_id)
    except NoSuchResponse as error:
        message = f"Previous response with id '{response_id[:100]}' not found."
        raise UnknownResponse(message, "previous_response_id") from error
    if not _has_ended(stream):
        raise UnknownResponse(f"Previous response '{response_id[:100]}' is not complete.", "previous_response_id")
    return Earlier(_kept(stream).messages, _resource(stream)["output"])


class EarlierItems:
    """The items of earlier responses that one request refers to. Builds the items of each response once."""

    def __init__(self, llm: Service, owner: str) -> None:
        self._llm = llm
        self._owner = owner
        self._items: dict[str, dict[str, Any]] = {}
        """By their ids."""
        self._made: set[str] = set()
        """The ids of their streams."""

    def find(self, item_id: str) -> Mapping[str, Any] | None:
        if item_id.startswith(APPROVAL):
            return _asked_about(self._llm, self._owner, item_id)
        stream_id = stream_of(item_id)
        if stream_id not in self._made:
            self._made.add(stream_id)
            self._make(stream_id)
        return self._items.get(item_id)

    def _make(self, stream_id: str) -> None:
        try:
            stream = _find(self._llm, self._owner, stream_id)
        except NoSuchResponse:
            return
        _has_ended(stream)
        self._items |= {item["id"]: item for item in _resource(stream)["output"]}


def _has_ended(stream: Followed) -> bool:
    if not stream.log.ended:
        stream.looked_at()
        stream.settled.wait(END_S)
    return stream.log.ended


def _asked_about(llm: Service, owner: str, item_id: str) -> Mapping[str, Any] | None:
    """An approval request, decoded from its id."""
    try:
        call = llm.state.approvals.call_of(owner, item_id.removeprefix(APPROVAL))
    except InvalidField:
        return None
    return approval_request(item_id.removeprefix(APPROVAL), call.id, call.name, call.arguments)


def _resource(stream: Followed) -> dict[str, Any]:
    return response_of(stream.log.events, _kept(stream).asked, partial(_ended_at, stream))


def _ended_at(stream: Followed) -> int | None:
    """The time of the end; only the worker that wrote the stream knows it."""
    return int(stream.record.ended.timestamp()) if stream.record else None


def _starting_after() -> int:
    """Raises `WrongParameter`."""
    text = request.args.get("starting_after", "-1")
    try:
        return max(-1, int(text))
    except ValueError:
        raise WrongParameter("The parameter 'starting_after' must be a number.", "starting_after") from None
