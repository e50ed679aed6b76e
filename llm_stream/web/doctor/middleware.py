"""What stands between an event stream and the server."""

from __future__ import annotations

from typing import Any

from ...wire import sse
from .finding import Finding
from .finding import NotChecked
from .patient import Patient
from .probe import Outcome
from .probe import Probe


def middleware(patient: Patient) -> Finding | None:
    outcome = patient.probed
    if not outcome.is_event_stream:
        raise NotChecked(f"the app answers with {outcome.status} where it should stream")
    if encoding := outcome.headers.get("content-encoding"):
        return Finding(
            f"{_culprit(patient)} compresses event streams ({encoding}).",
            "Tokens reach the reader in lumps, or all at the end.",
            "Leave text/event-stream out of what it compresses (Flask-Compress: COMPRESS_MIMETYPES).",
            "error",
        )
    if outcome.is_held_back:
        return Finding(
            f"{_culprit(patient)} holds event streams back: the first event came after the second one was made.",
            "Tokens reach the reader in lumps, or all at the end, and Stop seems not to work.",
            "Take it away, or have it pass text/event-stream on piece by piece.",
            "error",
        )
    lost = [name for name, value in sse.HEADERS.items() if outcome.headers.get(name.lower()) != value]
    if not lost:
        return None
    return Finding(
        f"{_culprit(patient)} changes headers of event streams: {', '.join(lost)}.",
        "A proxy may hold the tokens back, compress or keep them.",
        "Have it leave the headers of text/event-stream alone.",
    )


def fast_path(patient: Patient) -> Finding | None:
    if not patient.gunicorn.is_gevent:
        raise NotChecked("only gevent workers have it")
    if not patient.settings.fast_path:
        raise NotChecked("LLM_STREAM_FAST_PATH is off")
    if not patient.probed.is_event_stream or patient.probed.in_between is None:
        return None
    return Finding(
        f"{patient.probed.in_between} stands between event streams and gunicorn.",
        "Tokens take the portable path, which costs more CPU. Nothing else changes.",
        "If a worker's CPU matters to you, have it leave responses of text/event-stream as they are.",
        "note",
    )


def _culprit(patient: Patient) -> str:
    """The middleware around the app, if the app alone does no such thing; else its functions after a request."""
    app = patient.state.app
    alone = Probe(app, patient.llm.name).send(type(app).wsgi_app.__get__(app))
    if _is_well(alone):
        is_wrapped = "wsgi_app" in vars(app)
        return f"{_name_of(app.wsgi_app)} (app.wsgi_app)" if is_wrapped else _name_of(type(app).__call__)
    after = [_name_of(function) for functions in app.after_request_funcs.values() for function in functions]
    others = [name for name in after if not name.startswith("llm_stream.")]
    return f"A function after each request ({' or '.join(others)})" if others else "Something in the app"


def _is_well(outcome: Outcome) -> bool:
    kept = all(outcome.headers.get(name.lower()) == value for name, value in sse.HEADERS.items())
    return kept and not outcome.is_held_back and "content-encoding" not in outcome.headers


def _name_of(called: Any) -> str:
    named = called if hasattr(called, "__qualname__") else type(called)
    return f"{named.__module__}.{named.__qualname__}"
