"""The app that the servers under test serve: the demo, with a window into the worker."""

from __future__ import annotations

import gc
import json
import logging
import os
import threading
from collections.abc import Iterator
from dataclasses import asdict
from time import sleep
from typing import Any

from flask import Flask
from flask import Response
from flask import jsonify
from flask import request
from pydantic import BaseModel
from pydantic import field_validator

import wsgi
from llm_stream import Answer
from llm_stream import Delta
from llm_stream import LLMStream
from llm_stream import UsageRecord
from llm_stream.core import streams

from .agent_events import EVENTS

THREADS_OF_THE_WORKER = {f"llm_stream {name}" for name in ("drain", "ledger", "lease", "log", "inbox")}


class Place(BaseModel):
    city: str
    people: int

    @field_validator("city")
    @classmethod
    def is_known(cls, city: str) -> str:
        sleep(0.001)  # as a database would
        return city


class Waiting(logging.Handler):
    """Logs over the network wait, and under gevent nothing may wait in the event loop."""

    def emit(self, record: logging.LogRecord) -> None:
        sleep(0.001)


def with_a_window(app: Flask) -> Flask:
    logging.getLogger("llm_stream").addHandler(Waiting())
    llm: LLMStream = app.blueprints["llm"]  # type: ignore[assignment]

    @llm.on_usage
    def broken(record: UsageRecord) -> None:
        if record.model == os.environ.get("BREAK_HOOK_FOR"):
            raise RuntimeError("this hook is broken")

    @llm.on_usage
    def keep(record: UsageRecord) -> None:
        sleep(0.001)  # as a database would
        with open(os.environ["RECORDS"], "a") as records:
            records.write(app.json.dumps({k: v if v is None else str(v) for k, v in asdict(record).items()}) + "\n")

    llm.on_answer(keep_answer)

    @app.get("/noted")
    def noted() -> Response:
        return llm.respond(prompt="hi", key=request.args.get("key"), metadata={"note": 7})

    @app.get("/worker")
    def worker() -> Response:
        """What is left in the worker while nothing runs; a thread of ours, under gevent a greenlet, has our name."""
        gc.collect()
        threads = [thread.name for thread in threading.enumerate() if thread.name.startswith("llm_stream")]
        return jsonify(
            threads=sorted(set(threads) - THREADS_OF_THE_WORKER),
            slots=sum(kept._running.total() for kept in streams.every()),
            pid=os.getpid(),
        )

    @app.get("/report")
    def report() -> Response:
        def lines() -> Iterator[object]:
            yield "one\n"
            yield None
            yield Delta(f"two {request.args['name']}")
            if request.args.get("raise"):
                raise RuntimeError("sk-secret in a traceback")

        return llm.respond(lines())

    @app.route("/agent", methods=["GET", "POST"])
    def agent() -> Response:
        return llm.respond(EVENTS)

    def wait(name: str) -> str:
        """Wait until the test has made the file of this name."""
        while not os.path.exists(name):
            sleep(0.01)
        return "waited"

    @app.get("/tools")
    def tools() -> Response:
        return llm.respond(prompt="hi", tools=[wait])

    @app.get("/place")
    def place() -> Response:
        return llm.respond(prompt="hi", schema=Place)

    stand_between(app, os.environ.get("STANDS_BETWEEN"))
    return app


def keep_answer(answer: Answer) -> None:
    """Append it to the file `ANSWERS`, where a test wants to see the answers."""
    if path := os.environ.get("ANSWERS"):
        record = answer.record.status if answer.record else None
        fields: dict[str, Any] = {"id": answer.id, "text": answer.text, "status": answer.status, "record": record}
        fields |= {"metadata": answer.metadata, "key": answer.key, "messages": answer.messages}
        with open(path, "a") as answers:
            answers.write(f"{json.dumps(fields)}\n")


def stand_between(app: Flask, what: str | None) -> None:
    """Somebody between the stream and the server who changes every byte, in the ways that people do it."""
    inner: Any = app.wsgi_app

    def generated(environ: Any, start_response: Any) -> Iterator[bytes]:
        for piece in inner(environ, start_response):
            yield piece.upper()

    def mapped(environ: Any, start_response: Any) -> Iterator[bytes]:
        return map(bytes.upper, inner(environ, start_response))

    def rewritten(response: Response) -> Response:
        pieces: Any = response.response
        response.response = map(bytes.upper, pieces)
        return response

    if what == "after_request":
        app.after_request(rewritten)
    elif what is not None:
        app.wsgi_app = {"generator": generated, "map": mapped}[what]  # type: ignore[method-assign]


app = with_a_window(wsgi.app)  # one app only: another one would be another worker of a shared log
