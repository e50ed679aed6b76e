"""The Vercel AI SDK routes: `useChat({ transport: new DefaultChatTransport({ api: "…/ui/chat" }) })`.

https://ai-sdk.dev/docs/ai-sdk-ui/chatbot-resume-streams
"""

from __future__ import annotations

import secrets

from flask import Response
from flask import request
from werkzeug.exceptions import HTTPException

from ...core.followed import Followed
from ...errors import LLMStreamError
from ...events import Failure
from ...requests import ui
from ...wire import sse
from ...wire.ui import HEADERS
from ...wire.ui import UIWire
from .. import body
from .. import response
from ..registration import Views
from ..service import Service
from . import aborted
from . import conversation
from .conversation import Place


def add_to(llm: Service) -> None:
    views = Views("ui", __name__, url_prefix="/ui")  # nested, because its errors have their own format

    @views.post("/chat")
    def ui_chat() -> Response:
        owner, state = llm.admit(), llm.state
        turn = ui.from_body(body.read_json(state.settings), state.settings, state.model)
        if turn.chat is None:  # useCompletion has no conversation
            return _streamed(llm, llm.open(owner, turn.request), None)
        place = Place("ui", turn.chat, turn.digest or secrets.token_hex(16), turn.continued)
        return _streamed(llm, conversation.open_stream(llm, owner, turn.request, place), turn.continued)

    @views.get("/chat/<path:chat_id>/stream")
    def resume_ui_chat(chat_id: str) -> Response:
        streams = conversation.streams_in(llm, llm.admit(), "ui", chat_id)
        if not streams or streams[0].settled.is_set():
            return response.nothing_more()
        place = conversation.place_of(streams[0].key)
        return _streamed(llm, streams[0], place.message if place else None)

    @views.delete("/chat/<path:chat_id>/stream")
    @views.post("/chat/<path:chat_id>/stop")
    def stop_ui_chat(chat_id: str) -> Response:
        conversation.stop_streams(llm, llm.admit(), "ui", chat_id)
        return Response(status=204)

    @views.errorhandler(LLMStreamError)
    def refused(error: LLMStreamError) -> Response:
        response.log_refusal(error)
        return in_text(error.failure())

    @views.errorhandler(HTTPException)
    def aborted_in_text(error: HTTPException) -> Response | HTTPException:
        return aborted.render(error, in_text)

    llm.register_blueprint(views)


def _streamed(llm: Service, stream: Followed, message_id: str | None) -> Response:
    """Always start at the first event, because these clients rebuild the message when they reconnect."""
    refuse = in_text if request.method == "POST" else None
    answer = response.event_stream(llm.state.streams, stream, request, UIWire(message_id), refuse=refuse)
    if answer.mimetype == sse.MIMETYPE:
        answer.headers.update(HEADERS)
    return answer


def in_text(failure: Failure, status: int | None = None) -> Response:
    """A refusal in plain text, because these clients show the whole body as the message."""
    answer = response.failure_response(failure)
    answer.status_code = status or answer.status_code
    answer.set_data(failure.message)
    answer.mimetype = "text/plain"
    return answer
