"""An event stream of two events that goes through the whole app, without a model, a record or a socket."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from types import FrameType
from typing import Any

from flask import Flask
from flask import Response
from flask import request
from werkzeug.test import EnvironBuilder

from ...server import flask
from ...server import gunicorn
from .. import response

KEY = "llm_stream.probe"
"""In the WSGI environment, which no client can set."""

FIRST = b'event: delta\ndata: {"text":"first"}\n\n'
SECOND = b'event: delta\ndata: {"text":"second"}\n\n'

CHAT = "chat"
"""The endpoint that streams."""

HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd", "Sec-Fetch-Site": "same-origin"}
"""Those of a browser."""


@dataclass
class Outcome:
    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """Their names are in small letters."""
    is_held_back: bool = True
    """The first event came only after the second one was made."""
    in_between: str | None = None
    """What iterates our response instead of the server, by its name."""

    @property
    def is_event_stream(self) -> bool:
        return self.status.startswith("200") and self.headers.get("content-type", "").startswith("text/event-stream")


class Probe:
    """The app's functions before a request are left out: they may ask who is there, and count."""

    def __init__(self, app: Flask, name: str) -> None:
        """`name` is that of the `LLMStream`, at whose path the app is asked."""
        self._app = app
        self._path = _path_of(app, name)
        self._is_second_made = False
        self._outcome = Outcome()
        self._iterated: Any = None
        self._server: FrameType | None = None

    def send(self, wsgi_app: Any) -> Outcome:
        """Ask `wsgi_app`, which is the app with its middleware, or a part of it. May raise anything."""
        first = self._app.before_request_funcs.setdefault(None, [])
        first.insert(0, self._answer)
        logging.disable()  # others may miss what a function before the request does
        try:
            return self._ask(wsgi_app)
        finally:
            logging.disable(logging.NOTSET)
            first.remove(self._answer)

    def _ask(self, wsgi_app: Any) -> Outcome:
        environ = EnvironBuilder(path=self._path, headers=HEADERS.items()).get_environ() | {KEY: self}
        outcome = self._outcome = Outcome()
        self._is_second_made = False

        def start_response(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            outcome.status = status
            outcome.headers = {name.lower(): value for name, value in headers}

        self._server = gunicorn.caller()
        self._iterated = wsgi_app(environ, start_response)
        try:
            for piece in self._iterated:
                if piece and outcome.is_held_back:
                    outcome.is_held_back = self._is_second_made
                    if outcome.is_held_back:
                        break
        finally:
            if hasattr(self._iterated, "close"):
                self._iterated.close()
        return outcome

    def _answer(self) -> Response | None:
        """Called by Flask before each request, while this probe is sent."""
        if request.environ.get(KEY) is not self:
            return None
        return response.streamed(self._pieces(), lambda: None)

    def _pieces(self) -> Iterator[bytes]:
        yield FIRST
        wrapper = flask.wrapper_around(gunicorn.caller())
        if wrapper is not None and self._server is not None:
            self._outcome.in_between = gunicorn.in_between(wrapper, self._server, self._iterated)
        self._is_second_made = True
        yield SECOND


def _path_of(app: Flask, name: str) -> str:
    """Where the `LLMStream` streams. Variables of its prefix get some value."""
    rules = [rule.rule for rule in app.url_map.iter_rules() if f".{rule.endpoint}".endswith(f".{name}.{CHAT}")]
    return re.sub("<[^>]*>", "1", rules[0]) if rules else "/"
