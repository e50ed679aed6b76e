"""Two apps in one worker, with a tool that watches OpenAI's client as others do: by wrapt."""

from __future__ import annotations

import os
from typing import Any

import wrapt
from flask import Flask
from flask import jsonify

from llm_stream import LLMStream


def watch(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)


def make_app(name: str) -> Flask:
    app = Flask(name)
    app.config["LLM_STREAM_PUBLIC"] = True
    app.register_blueprint(LLMStream("llm", __name__, model="unheard-of"), url_prefix="/llm")
    app.add_url_rule("/worker", view_func=lambda: jsonify(pid=os.getpid()))
    return app


wrapt.wrap_function_wrapper("openai.resources.chat.completions", "Completions.create", watch)
app = make_app("one")
other = make_app("other")
