"""Checks the middleware and hooks that an event stream passes on its way to the server."""

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
            "The reader gets many tokens at once, or the whole answer at the end.",
            "Exclude text/event-stream from compression (Flask-Compress: COMPRESS_MIMETYPES).",
            "error",
        )
    if outcome.is_held_back:
        return Finding(
            f"{_culprit(patient)} holds event streams back: the first event comes out after the second is produced.",
            "The reader gets many tokens at once, or the whole answer at the end, and Stop seems to do nothing.",
            "Remove it, or make it pass each piece of text/event-stream on at once.",
            "error",
        )
    lost = [name for name, value in sse.HEADERS.items() if outcome.headers.get(name.lower()) != value]
    if not lost:
        return None
    return Finding(
        f"{_culprit(patient)} changes headers of event streams: {', '.join(lost)}.",
        "A proxy may buffer, compress or cache the tokens.",
        "Make it leave the headers of text/event-stream unchanged.",
    )


def fast_path(patient: Patient) -> Finding | None:
    if not patient.gunicorn.is_gevent:
        raise NotChecked("only gevent workers have the fast path")
    if not patient.settings.fast_path:
        raise NotChecked("LLM_STREAM_FAST_PATH is off")
    if not patient.probed.is_event_stream or patient.probed.in_between is None:
        return None
    return Finding(
        f"{patient.probed.in_between} stands between event streams and gunicorn.",
        "Tokens take the portable path, which uses more CPU. Nothing else changes.",
        "To save CPU, make it return text/event-stream responses unchanged.",
        "note",
    )


def _culprit(patient: Patient) -> str:
    """The name of the cause: the middleware if the app without it is fine, else the app's `after_request` functions."""
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
