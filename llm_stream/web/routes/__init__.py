"""The HTTP views of an `LLMStream`: a module for each kind of client, and what they have in common."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from ..service import Service
from . import aborted
from . import agui
from . import native
from . import openai
from . import origins
from . import ui
from . import unrouted
from . import usage


def add_to(llm: Service) -> None:
    """Give the blueprint its routes, and errors in JSON."""
    native.add_to(llm)
    openai.add_to(llm)
    ui.add_to(llm)
    agui.add_to(llm)
    usage.add_to(llm)
    unrouted.add_to(llm)
    origins.add_to(llm)
    llm.register_error_handler(HTTPException, aborted.in_json)
