"""The app of `served.py`, with a view that renders its pieces with a template."""

from __future__ import annotations

from flask import Response
from flask import request
from jinja2 import DictLoader

from llm_stream import LLMStream

from .served import app

llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]
app.jinja_loader = DictLoader({"piece.html": "<p>{{ request.args.name }}: {{ text }}</p>"})


@app.get("/view")
def view() -> Response:
    return llm.respond(prompt="hi", format="html", template="piece.html", key=request.args["key"])
