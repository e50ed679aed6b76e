"""The app of `served.py` in a host that traces its requests: each span is a line in the file `SPANS`."""

from __future__ import annotations

import os

from flask import g
from flask import request
from opentelemetry import context
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from .served import app


def in_a_line(span: ReadableSpan) -> str:
    return f"{span.to_json(indent=None)}\n"


spans = open(os.environ["SPANS"], "a")  # noqa: SIM115 - for as long as the worker lives
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(out=spans, formatter=in_a_line)))
trace.set_tracer_provider(provider)
tracer = trace.get_tracer(__name__)


@app.before_request
def begin() -> None:
    g.span = tracer.start_span(request.path, kind=trace.SpanKind.SERVER)
    g.token = context.attach(trace.set_span_in_context(g.span))


@app.teardown_request
def end(error: BaseException | None) -> None:
    """Called twice for a stream: Flask opens its context a second time to write it."""
    if span := g.pop("span", None):
        context.detach(g.pop("token"))
        span.end()


__all__ = ["app"]
