"""A chat page without its own JavaScript: htmx and its extension for server-sent events show the answers.

    npm install htmx.org@2 htmx-ext-sse@2
    OPENAI_API_KEY=… gunicorn -c gunicorn.conf.py examples.htmx.app:app

Anyone who can reach this page spends your money. Before you publish it, replace `LLM_STREAM_PUBLIC` with `authorize`.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from flask import Flask
from flask import Response
from flask import render_template
from flask import request
from flask import send_from_directory

from llm_stream import LLMStream

PACKAGES = Path(os.environ.get("NODE_MODULES", "node_modules")).absolute()
SCRIPTS = {"htmx.js": "htmx.org/dist/htmx.min.js", "sse.js": "htmx-ext-sse/sse.js"}

app = Flask(__name__)
app.config["LLM_STREAM_PUBLIC"] = True
app.register_blueprint(LLMStream("llm", __name__, model="gpt-4o-mini"), url_prefix="/llm")


@app.get("/")
def page() -> str:
    return render_template("page.html")


@app.post("/ask")
def ask() -> str:
    """The element that fetches the answer. Because of the key, a lost connection does not buy the answer twice."""
    return render_template("answer.html", question=request.form["question"], key=uuid4())


@app.get("/<any('htmx.js', 'sse.js'):name>")
def script(name: str) -> Response:
    return send_from_directory(PACKAGES, SCRIPTS[name])
