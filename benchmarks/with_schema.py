"""The app that `benchmarks/schema.py` measures."""

from __future__ import annotations

from flask import Flask
from flask import Response
from flask import request
from pydantic import BaseModel

from llm_stream import LLMStream

llm = LLMStream("llm", __name__, model="bench")
app = Flask(__name__)
app.config["LLM_STREAM_PUBLIC"] = True
app.register_blueprint(llm, url_prefix="/llm")


class Item(BaseModel):
    name: str
    price: float
    note: str


class Invoice(BaseModel):
    number: int
    items: list[Item]


@app.get("/plain")
def plain() -> Response:
    return llm.respond(prompt=request.args["prompt"], tools=[])


@app.get("/schema")
def schema() -> Response:
    return llm.respond(prompt=request.args["prompt"], tools=[], schema=Invoice)
