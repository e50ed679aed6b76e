"""The AG-UI routes: `new HttpAgent({ url: "…/agui" })`.

The metadata of a stream is `{"thread": …, "run": …}`, so `on_answer` can store the answer under its thread.

https://docs.ag-ui.com
"""

from __future__ import annotations

import msgspec
from flask import Response
from flask import request

from ...requests import agui
from ...wire.agui import AGUIWire
from .. import body
from .. import response
from ..service import Service
from . import conversation
from .conversation import Place


def add_to(llm: Service) -> None:

    @llm.post("/agui")
    def run_agent() -> Response:
        owner, state = llm.admit(), llm.state
        run = agui.from_body(body.read_json(state.settings), state.settings, state.model)
        key = Place("agui", run.thread, run.run).key()  # a client's retry has a new run id
        asked = msgspec.structs.replace(run.request, key=key)
        stream = llm.open(owner, asked, metadata={"thread": run.thread, "run": run.run})
        wire = AGUIWire(run.thread, run.run, run.conversation)
        return response.event_stream(state.streams, stream, request, wire, refuse=response.failure_response)

    @llm.post("/agui/<path:thread_id>/stop")
    def stop_thread(thread_id: str) -> Response:
        conversation.stop_streams(llm, llm.admit(), "agui", thread_id)
        return Response(status=204)
