"""The HTTP views of an `LLMStream`: one module per client protocol, and what they share."""

from __future__ import annotations

from werkzeug.exceptions import HTTPException

from ..service import Service
from . import aborted
from . import agui
from . import native
from . import openai
from . import openapi
from . import origins
from . import probes
from . import ui
from . import unrouted
from . import usage


def add_to(llm: Service) -> None:
    """Add all routes, and the handler that answers errors in JSON."""
    for module in (native, openai, ui, agui, usage, probes, openapi, unrouted, origins):
        module.add_to(llm)
    llm.register_error_handler(HTTPException, aborted.in_json)
