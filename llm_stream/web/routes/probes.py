"""For load balancers and orchestrators: `/healthz` says whether the worker answers, `/readyz` whether it takes streams.

A probe has no session, no `Origin`, and its own idea of the host. So neither route asks `authorize`, and both tell
nothing that is secret.
"""

from __future__ import annotations

from flask import Response
from flask import request

from ...server import stopping
from .. import access
from .. import response
from ..service import Service
from ..state import State

RETRY_AFTER_S = 5.0


def add_to(llm: Service) -> None:

    @llm.get("/healthz")
    def healthz() -> Response:
        return response.json_response({"status": "ok"})

    @llm.get("/readyz")
    def readyz() -> Response:
        """A log or a ledger that is away is no reason for a 503: all workers share it, so none would be left."""
        state = llm.state
        if stopping.is_stopping():
            return response.refusal({"status": "draining"}, 503, RETRY_AFTER_S)
        if access.has_strangers(request, state.settings):
            return response.json_response({"status": "several_processes"}, 503)
        return response.json_response({"status": "ready"} | _shared(state))


def _shared(state: State) -> dict[str, str]:
    """What this worker shares with others, and whether it can be reached."""
    shared = {"log": state.streams.shared, "ledger": state.ledger}
    return {name: "away" if what.is_away else "ok" for name, what in shared.items() if what is not None}
