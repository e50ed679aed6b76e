"""Apps in this process that keep their answers, as the tests of `on_answer` and of metadata use them."""

from __future__ import annotations

from typing import Any

from flask import Flask
from flask import Response
from flask import request

from llm_stream import Answer
from llm_stream import LLMStream
from llm_stream.testing import read_events

from .conftest import Event

METADATA = {"conversation": 7, "secret-to-readers": ["a", None]}
SECRET = "secret-to-readers"


def llm_of(app: Flask) -> LLMStream:
    return app.blueprints["llm"]  # type: ignore[return-value]


def kept_by(app: Flask) -> list[Answer]:
    """The answers that `on_answer` gets from now on."""
    answers: list[Answer] = []
    llm_of(app).on_answer(answers.append)
    return answers


def asking(app: Flask, **options: Any) -> None:
    """Add `/ask`, which answers what a page asks, with metadata."""

    def ask() -> Response:
        return llm_of(app).respond(prompt="hi", key=request.args.get("key"), **{"metadata": METADATA} | options)

    app.add_url_rule("/ask", view_func=ask, methods=["GET", "POST"])


def ask(app: Flask, path: str = "/ask") -> list[Event]:
    return read_events(app.test_client().get(path).data)
