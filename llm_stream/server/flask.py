"""What we know of Flask: the frame of `stream_with_context`, between our generator and whoever iterates it."""

from __future__ import annotations

from types import FrameType

from .private import missing

MODULE = "flask.helpers"
WRAPPER = "stream_with_context.<locals>.generator"
WRAPPED = "gen"


def wrapper_around(generator: FrameType) -> FrameType | None:
    """The frame of Flask's wrapper, which calls `generator`. None where it cannot be recognised."""
    frame = generator.f_back
    if frame is None:
        return None
    is_flask = frame.f_globals.get("__name__") == MODULE and frame.f_code.co_qualname == WRAPPER
    if not is_flask or getattr(frame.f_locals.get(WRAPPED), "gi_frame", None) is not generator:
        missing("Flask", f"{WRAPPER} around {WRAPPED!r}", "tokens take the portable way, which costs more CPU")
        return None
    return frame
