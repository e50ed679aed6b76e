"""Sends an event stream of two events through the whole app, without a model, a usage record or a socket."""

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
"""A key of the WSGI environment. Clients cannot set it."""

FIRST = b'event: delta\ndata: {"text":"first"}\n\n'
SECOND = b'event: delta\ndata: {"text":"second"}\n\n'

CHAT = "chat"
"""The endpoint whose path the probe requests."""

HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "gzip, deflate, br, zstd", "Sec-Fetch-Site": "same-origin"}
"""Headers like a browser's."""


@dataclass
class Outcome:
    status: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    """The names are in lower case."""
    is_held_back: bool = True
    """The first event came out only after the second one was produced."""
    in_between: str | None = None
    """The name of the object that iterates our response in place of the server."""

    @property
    def is_event_stream(self) -> bool:
        return self.status.startswith("200") and self.headers.get("content-type", "").startswith("text/event-stream")


class Probe:
    """Skips the app's `before_request` functions, because they may require a login or count requests."""

    def __init__(self, app: Flask, name: str) -> None:
        """`name` is the name of the `LLMStream` whose path the probe requests."""
        self._app = app
        self._path = _path_of(app, name)
        self._is_second_made = False
        self._outcome = Outcome()
        self._iterated: Any = None
        self._server: FrameType | None = None

    def send(self, wsgi_app: Any) -> Outcome:
        """Send a request to `wsgi_app`: the app with its middleware, or a part of it. May raise any exception."""
        first = self._app.before_request_funcs.setdefault(None, [])
        first.insert(0, self._answer)
        logging.disable()  # skipped `before_request` functions may make others log errors
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
        """Flask calls this before each request while the probe runs."""
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
    """The path of the chat endpoint. Variables in its prefix get the value 1."""
    rules = [rule.rule for rule in app.url_map.iter_rules() if f".{rule.endpoint}".endswith(f".{name}.{CHAT}")]
    return re.sub("<[^>]*>", "1", rules[0]) if rules else "/"
