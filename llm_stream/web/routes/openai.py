"""The routes for OpenAI clients: `OpenAI(base_url=".../llm/v1")`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import InternalServerError

from ...core.followed import Followed
from ...errors import LLMStreamError
from ...errors.statuses import status_of
from ...events import Event
from ...events import Failure
from ...events import Usage
from ...requests import WrongParameter
from ...requests.openai import check_model
from ...requests.openai import from_body
from ...wire.openai import OpenAIWire
from ...wire.openai import completion_of
from ...wire.openai import error_of
from ...wire.openai import failure_in
from .. import access
from .. import body
from .. import response
from ..registration import Views
from ..service import Service
from . import aborted
from .address import url_of


def add_to(llm: Service) -> None:
    v1 = Views("openai", __name__, url_prefix="/v1")  # nested, because its errors have their own format

    @v1.post("/chat/completions")
    def create_completion() -> Response:
        state, owner = llm.state, llm.admit()
        parsed = from_body(
            body.read_json(state.settings),
            state.settings,
            state.model,
            key=request.headers.get("Idempotency-Key"),
            may_instruct=not access.is_browser(request),
        )
        stream = llm.open(owner, parsed.request)
        if parsed.stream:
            wire, refuse = OpenAIWire(include_usage=parsed.include_usage), partial(_refusal, stream)
            answer = response.event_stream(state.streams, stream, request, wire, refuse=refuse)
        else:
            answer = response.whole_answer(state.streams, stream, request, render=partial(_completion, stream))
        return _add_headers(llm, answer, stream, parsed.left_out)

    @v1.get("/models")
    def list_models() -> Response:
        llm.admit()
        names = dict.fromkeys((llm.state.model, *llm.state.settings.models))
        return response.json_response({"object": "list", "data": [_model(name) for name in names]})

    @v1.get("/models/<path:openai_model>")
    def retrieve_model(openai_model: str) -> Response:
        llm.admit()
        return response.json_response(_model(check_model(openai_model, llm.state.settings, llm.state.model)))

    @v1.errorhandler(LLMStreamError)
    def refused(error: LLMStreamError) -> Response:
        response.log_refusal(error)
        param = error.param if isinstance(error, WrongParameter) else None
        answer = _error(error.failure(), error.status, param)
        answer.headers["x-should-retry"] = _yes_or_no(error.retryable)
        return answer

    @v1.errorhandler(HTTPException)
    def in_openai_form(error: HTTPException) -> Response | HTTPException:
        answer = aborted.render(error, _error)
        if isinstance(error, InternalServerError) and isinstance(answer, Response):  # it may have bought an answer
            answer.headers["x-should-retry"] = _yes_or_no(False)
        return answer

    llm.register_blueprint(v1)


def _completion(stream: Followed, events: Sequence[Event]) -> Response:
    """The complete answer or an error. An incomplete answer can be read at the stream's URL."""
    if failure := failure_in(events):
        return _refusal(stream, failure)
    return response.json_response(completion_of(events))


def _refusal(stream: Followed, failure: Failure) -> Response:
    """A failed stream. Without `x-should-retry` SDKs retry twice, and each retry may cost money."""
    answer = _error(failure, status_of(failure.code))
    cost_nothing = any(isinstance(event, Usage) and event.source == "none" for event in stream.log.events)
    may_succeed = failure.retryable and stream.key is None  # with the same key, a retry gets the same failure
    answer.headers["x-should-retry"] = _yes_or_no(cost_nothing and may_succeed)
    return answer


def _add_headers(llm: Service, answer: Response, stream: Followed, left_out: Sequence[str]) -> Response:
    """Name the stream's id and URL, and the parameters that were ignored."""
    answer.headers["x-request-id"] = stream.id
    answer.headers["x-llm-stream-url"] = url_of(llm, stream)
    answer.headers.setdefault("x-should-retry", _yes_or_no(False))
    if left_out:
        answer.headers["x-llm-stream-left-out"] = ", ".join(left_out)
    return answer


def _error(failure: Failure, status: int, param: str | None = None) -> Response:
    answer = response.refusal(error_of(failure, status, param), status, failure.retry_after)
    answer.headers["x-request-id"] = failure.error_id
    return answer


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "llm_stream"}


def _yes_or_no(yes: bool) -> str:
    return "true" if yes else "false"
