"""Probes: `/healthz` says whether the worker responds, `/readyz` whether it accepts new streams.

Load balancers and orchestrators send no session and no `Origin`, and may use another host name. So neither route calls
`authorize`, and neither reveals a secret.
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
        """Does not return 503 if the log or the ledger is unreachable: all workers would become unready at once."""
        state = llm.state
        if stopping.is_stopping():
            return response.refusal({"status": "draining"}, 503, RETRY_AFTER_S)
        if access.has_strangers(request, state.settings):
            return response.json_response({"status": "several_processes"}, 503)
        return response.json_response({"status": "ready"} | _shared(state))


def _shared(state: State) -> dict[str, str]:
    """Whether this worker can reach the shared log and the ledger."""
    shared = {"log": state.streams.shared, "ledger": state.ledger}
    return {name: "away" if what.is_away else "ok" for name, what in shared.items() if what is not None}
