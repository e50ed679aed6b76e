"""The app of `served.py` with the blueprint below a variable as well, and a view that other origins may POST to."""

from __future__ import annotations

from flask import Response
from flask import abort
from flask import request

from llm_stream import LLMStream

from .served import app

llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]
app.register_blueprint(llm, url_prefix="/t/<tenant>/llm", name="tenants")


@llm.authorize
def owner() -> str:
    if request.args.get("who") == "nobody":
        abort(401, "Please sign in.")
    tenant: str = (request.view_args or {}).get("tenant", "me")
    return tenant


@app.post("/summarise")
@llm.cross_origin
def summarise() -> Response:
    return llm.respond(prompt=request.get_json()["text"])


@app.get("/watch")
def watch() -> Response:
    return llm.respond(prompt=request.args["prompt"])


@app.post("/closed")
def closed() -> Response:
    return llm.respond(prompt=request.get_json()["text"])


__all__ = ["app"]
