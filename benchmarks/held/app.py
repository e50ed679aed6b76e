"""The measured app. It records how long a single piece of work occupied its event loop."""

from __future__ import annotations

import os
import time
from decimal import Decimal

import gevent
from flask import Flask
from flask import Response
from flask import jsonify
from flask import request
from pydantic import BaseModel

from llm_stream import LLMStream
from llm_stream.settings import Budget

TICK_S = 0.001


class Watch:
    """A greenlet that is due every millisecond."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.late_s = 0.0
        """The greenlet's longest delay."""
        self.busy_s = 0.0
        """The most CPU time of the loop's thread between two turns. Other processes change it little."""

    def run(self) -> None:
        now, busy = time.perf_counter(), time.thread_time()
        while True:
            gevent.sleep(TICK_S)
            then, used = now, busy
            now, busy = time.perf_counter(), time.thread_time()
            self.late_s = max(self.late_s, now - then - TICK_S)
            self.busy_s = max(self.busy_s, busy - used)


class Item(BaseModel):
    name: str
    price: float
    note: str


class Invoice(BaseModel):
    number: int
    items: list[Item]


watch = Watch()
app = Flask(__name__)
app.config["LLM_STREAM_PUBLIC"] = True
llm = LLMStream("llm", __name__, model="short")
paid = LLMStream("paid", __name__, model="gpt-4o-mini")
paid.budget(lambda owner: Budget(day=Decimal(1_000_000)))
llm.authorize_usage(lambda: True)


@llm.tool
def echo(text: str) -> str:
    """Returns the text."""
    return text


app.register_blueprint(llm, url_prefix="/llm")
app.register_blueprint(paid, url_prefix="/paid")


@app.get("/held")
def held() -> Response:
    """The maxima since the last request to this view."""
    answer = jsonify(late_ms=1000 * watch.late_s, busy_ms=1000 * watch.busy_s, pid=os.getpid())
    watch.clear()
    return answer


@app.post("/structured")
def structured() -> Response:
    return llm.respond(prompt="an invoice", model=request.args["model"], schema=Invoice, tools=[])


gevent.spawn(watch.run)
