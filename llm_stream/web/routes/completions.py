"""OpenAI's chat completions API."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from flask import Response
from flask import request

from ...core.followed import Followed
from ...events import Event
from ...requests.openai import from_body
from ...wire.openai import OpenAIWire
from ...wire.openai import completion_of
from ...wire.openai import failure_in
from .. import access
from .. import body
from .. import response
from ..registration import Views
from ..service import Service
from .openai_form import add_headers
from .openai_form import of_failure


def add_to(v1: Views, llm: Service) -> None:

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
            wire, refuse = OpenAIWire(include_usage=parsed.include_usage), partial(of_failure, stream)
            answer = response.event_stream(state.streams, stream, request, wire, refuse=refuse)
        else:
            answer = response.whole_answer(state.streams, stream, request, render=partial(_completion, stream))
        return add_headers(llm, answer, stream, parsed.left_out)


def _completion(stream: Followed, events: Sequence[Event]) -> Response:
    """The complete answer, or an error. The stream's URL also serves an incomplete answer."""
    if failure := failure_in(events):
        return of_failure(stream, failure)
    return response.json_response(completion_of(events))
