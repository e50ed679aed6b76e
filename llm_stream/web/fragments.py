"""Renders the pieces of an answer with a template of the app."""

from __future__ import annotations

from contextvars import copy_context

from flask import current_app
from markupsafe import escape

from ..events import Event
from ..wire.html import Render


def renderer(name: str) -> Render:
    """A renderer for the current request. Raises `jinja2.TemplateNotFound`.

    The template gets `event`, `text`, `css_class` and the values of the app's context processors, which run once per
    response. `text` is already escaped, because Jinja escapes only templates with certain names. Other threads also
    write pieces, so the template runs in a copy of the request's context.
    """
    template = current_app.jinja_env.get_template(name)
    given: dict[str, object] = {}
    current_app.update_template_context(given)
    context = copy_context()

    def render(event: Event, text: str, css_class: str) -> str:
        names = {**given, "event": event, "text": escape(text), "css_class": css_class}
        return context.run(template.render, names)

    return render
