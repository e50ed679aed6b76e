"""The app of the soak run: the library, and a view that counts the worker's objects."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
from functools import cache
from typing import Any

from flask import Flask
from flask import Response
from flask import jsonify
from flask import request

from llm_stream import LLMStream
from llm_stream.core import streams


def create_app() -> Flask:
    app = Flask("soak")
    llm = LLMStream("llm", __name__, model="bench-n10-d0")

    @llm.authorize
    def owner() -> str:
        return request.headers.get("X-Owner", "somebody")

    @app.get("/counts")
    def counts() -> Response:
        if "collect" in request.args:
            gc.collect()
            ctypes.CDLL(None).malloc_trim(0)
        objects = sys.getallocatedblocks()
        every = list(streams.every())
        return jsonify(
            objects=objects,
            requests=len(pool()),
            threads=len(threading.enumerate()),
            streams=sum(len(each.running()) for each in every),
            slots=sum(each._running.total() for each in every),
            logs=sum(len(each._retention._finished) for each in every),
        )

    app.register_blueprint(llm, url_prefix="/llm")
    return app


@cache
def pool() -> Any:
    """gunicorn's greenlets, one for each connection. Searched only once, because the search blocks every stream."""
    from gevent.pool import Pool

    (found,) = (each for each in gc.get_objects() if isinstance(each, Pool))
    return found
