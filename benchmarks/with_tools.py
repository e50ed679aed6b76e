"""The app that `benchmarks/tools.py` measures."""

from __future__ import annotations

from collections.abc import Iterator

from flask import Flask
from flask import Response

from llm_stream import Event
from llm_stream import LLMStream

llm = LLMStream("llm", __name__, model="bench")
app = Flask(__name__)
app.config["LLM_STREAM_PUBLIC"] = True
app.register_blueprint(llm, url_prefix="/llm")


def weather(city: str, days: int = 1) -> dict[str, object]:
    """The weather of a city."""
    return {"city": city, "days": days, "sky": "clear"}


@app.get("/call")
def call() -> Response:
    return llm.respond(prompt="plain", tools=[])


@app.get("/step")
def step() -> Response:
    return llm.respond(prompt="tool", tools=[weather])


@app.get("/parts")
def parts() -> Response:
    def twice() -> Iterator[Event]:
        for prompt in ("plain", "plain"):
            yield from llm.events(prompt=prompt, tools=[])

    return llm.respond(twice())
