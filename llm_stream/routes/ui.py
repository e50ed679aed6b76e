"""The routes of the Vercel AI SDK: `useChat({ transport: new DefaultChatTransport({ api: "…/ui/chat" }) })`.

https://ai-sdk.dev/docs/ai-sdk-ui/chatbot-resume-streams
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING
from typing import ParamSpec

from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException

from .. import response
from ..errors import LLMStreamError
from ..events import Failure
from ..requests import ui
from ..stream import Stream
from ..wire.ui import HEADERS
from ..wire.ui import UIWire
from . import aborted
from . import body
from . import conversation
from .conversation import Place

if TYPE_CHECKING:
    from ..blueprint import LLMStream

ViewArgs = ParamSpec("ViewArgs")


def add_to(llm: LLMStream) -> None:

    @llm.post("/ui/chat")
    @refused_in_text
    def ui_chat() -> Response:
        owner, state = llm.admit(), llm.state
        turn = ui.from_body(body.read_json(state.settings), state.settings, state.model)
        if turn.chat is None:  # useCompletion, which knows no conversation
            return _streamed(llm, llm.open(owner, turn.asked), None)
        place = Place("ui", turn.chat, turn.digest or secrets.token_hex(16), turn.continued)
        return _streamed(llm, conversation.opened(llm, owner, turn.asked, place), turn.continued)

    @llm.get("/ui/chat/<path:chat_id>/stream")
    @refused_in_text
    def resume_ui_chat(chat_id: str) -> Response:
        streams = conversation.streams_in(llm, llm.admit(), "ui", chat_id)
        if not streams or streams[0].settled.is_set():
            return response.nothing_more()
        place = conversation.place_of(streams[0])
        return _streamed(llm, streams[0], place.message if place else None)

    @llm.delete("/ui/chat/<path:chat_id>/stream")
    @llm.post("/ui/chat/<path:chat_id>/stop")
    @refused_in_text
    def stop_ui_chat(chat_id: str) -> Response:
        conversation.stop(llm, llm.admit(), "ui", chat_id)
        return Response(status=204)


def _streamed(llm: LLMStream, stream: Stream, message_id: str | None) -> Response:
    """From its start, always: these clients build the message anew when they come back."""
    refuse = in_text if request.method == "POST" else None
    answer = response.event_stream(llm.state.streams, stream, request, UIWire(message_id), refuse=refuse)
    if answer.mimetype == "text/event-stream":
        answer.headers.update(HEADERS)
    return answer


def in_text(failure: Failure) -> Response:
    """A refusal as these clients show it: they take the whole body for the message."""
    answer = response.failure_response(failure)
    answer.set_data(failure.message)
    answer.mimetype = "text/plain"
    return answer


def refused_in_text(view: Callable[ViewArgs, Response]) -> Callable[ViewArgs, Response]:
    """Whatever refuses a request to this view does it in text."""

    @wraps(view)
    def told(*args: ViewArgs.args, **kwargs: ViewArgs.kwargs) -> Response:
        try:
            return view(*args, **kwargs)
        except LLMStreamError as error:
            response.log_refusal(error)
            return in_text(error.failure())
        except HTTPException as error:
            if aborted.speaks_for_itself(error):
                raise
            answer = in_text(aborted.failure_of(error))
            answer.status_code = error.code or 500
            return aborted.with_headers_of(error, answer)

    return told
