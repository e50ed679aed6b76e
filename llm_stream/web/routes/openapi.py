"""Serves the OpenAPI description of this registration's routes.

It needs no `authorize`: the description is the same for every app of this version and reveals no models or limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import Response
from flask import current_app
from flask import request

from .. import response
from ..service import Service


def add_to(llm: Service) -> None:

    @llm.get("/openapi.json")
    def openapi() -> Response:
        descriptions = llm.state.descriptions
        name = (request.endpoint or "").rpartition(".")[0]
        if name not in descriptions:
            descriptions[name] = _described(llm, f"{name}.")
        # a proxy may set the app's path prefix for each request
        return response.json_response({**descriptions[name], "servers": [{"url": request.script_root or "/"}]})


def _described(llm: Service, prefix: str) -> dict[str, Any]:
    from .. import openapi
    from ..openapi.operations import USAGE

    rules = [rule for rule in current_app.url_map.iter_rules() if rule.endpoint.startswith(prefix)]
    return openapi.document(rules, prefix, _left_out(llm, USAGE))


def _left_out(llm: Service, usage: Iterable[str]) -> frozenset[str]:
    """The usage routes, if they could only answer with an error."""
    return frozenset() if llm.state.ledger is not None and llm.shows_usage else frozenset(usage)
