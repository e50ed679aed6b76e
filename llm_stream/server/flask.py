"""Finds the frame of Flask's `stream_with_context` between our generator and the server that iterates it."""

from __future__ import annotations

from types import FrameType

from .private import SLOW_TOKENS
from .private import warn_missing

MODULE = "flask.helpers"
WRAPPER = "stream_with_context.<locals>.generator"
WRAPPED = "gen"


def wrapper_around(generator: FrameType) -> FrameType | None:
    """The frame of Flask's wrapper that iterates `generator`; None if it is not recognized."""
    frame = generator.f_back
    if frame is None:
        return None
    is_flask = frame.f_globals.get("__name__") == MODULE and frame.f_code.co_qualname == WRAPPER
    if not is_flask or getattr(frame.f_locals.get(WRAPPED), "gi_frame", None) is not generator:
        warn_missing("Flask", f"{WRAPPER} around {WRAPPED!r}", SLOW_TOKENS)
        return None
    return frame
