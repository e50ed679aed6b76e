"""An agent with a notebook: it cites its notes, draws a chart, and asks before it deletes anything.

    gunicorn -c gunicorn.conf.py examples.agent.app:app        # without a key, script.py stands in for the model

The same agent answers the page of this folder, `useChat` (at /llm/ui/chat) and AG-UI (at /llm/agui).
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Generator
from typing import Annotated
from typing import Any

from flask import Flask
from flask import Response
from flask import abort
from flask import render_template
from openai import OpenAI
from pydantic import Field

from llm_stream import Data
from llm_stream import LLMStream
from llm_stream import Source
from llm_stream import ToolError
from llm_stream.testing import Upstream

from .script import answer_to

NOTES = {
    1: {"title": "Basil", "text": "Water it every second day. It likes the sun.", "heights": [3, 5, 9, 14]},
    2: {"title": "Mint", "text": "Cut it back in June, or it takes the bed over.", "heights": [4, 9, 17, 30]},
}


def make_client() -> OpenAI:
    if os.environ.get("OPENAI_API_KEY"):
        return OpenAI()
    upstream = Upstream(answer_to)
    upstream.start()
    return OpenAI(base_url=upstream.base_url, api_key="none")


app = Flask(__name__)
app.config.update(LLM_STREAM_PUBLIC=True, SECRET_KEY=os.environ.get("SECRET_KEY") or secrets.token_hex())
llm = LLMStream("llm", __name__, model=os.environ.get("LLM_STREAM_MODEL", "gpt-4o-mini"), client=make_client)


@llm.tool(concurrent=True)
def search_notes(words: str) -> Generator[Source, None, list[dict[str, Any]]]:
    """Search the user's notes about plants. Name the notes that you use."""
    found = []
    for number, note in NOTES.items():
        if any(word in f"{note['title']} {note['text']}".lower() for word in words.lower().split()):
            yield Source(f"/notes/{number}", note["title"])  # the reader sees where the answer comes from
            found.append({"note": number, "title": note["title"], "text": note["text"]})
    return found


@llm.tool(concurrent=True)
def draw_growth(note: Annotated[int, Field(description="The number of the note.")]) -> Generator[Data, None, str]:
    """Draw a chart of a plant's growth for the user."""
    yield Data("chart", {"title": note_of(note)["title"], "points": note_of(note)["heights"]}, id=f"growth-{note}")
    return "The chart is drawn."


@llm.tool(needs_approval=True)
def delete_note(note: int) -> str:
    """Delete a note for good. The user must approve this first."""
    title = note_of(note)["title"]
    del NOTES[note]
    return f"The note about {title} is deleted."


def note_of(number: int) -> dict[str, Any]:
    if number not in NOTES:
        raise ToolError(f"There is no note {number}.")
    return NOTES[number]


app.register_blueprint(llm, url_prefix="/llm")


@app.get("/")
def page() -> str:
    return render_template("agent.html")


@app.get("/notes/<int:number>")
def show_note(number: int) -> Response:
    note = NOTES.get(number) or abort(404)
    return Response(f"{note['title']}\n\n{note['text']}\n", mimetype="text/plain")


@app.post("/ask")
def ask() -> Response:
    """Put the agent's instructions before the page's messages, which must not contain instructions."""
    asked = llm.read_request()
    instructions = {"role": "system", "content": "You keep the user's notes about plants."}
    return llm.respond(messages=[instructions, *asked.messages], approvals=asked.approvals, key=asked.key)
