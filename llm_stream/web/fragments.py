"""Renders the pieces of an answer with a template of the app's."""

from __future__ import annotations

from contextvars import copy_context

from flask import current_app
from markupsafe import escape

from ..events import Event
from ..wire.html import Render


def renderer(name: str) -> Render:
    """For the current request. Raises `jinja2.TemplateNotFound`.

    The template gets `event`, `text` and `css_class`, and what the app's context processors add, once per response.
    `text` is escaped already, because Jinja escapes by the name of the template. Pieces are written by other threads,
    too, so the template runs in a copy of the request's context.
    """
    template = current_app.jinja_env.get_template(name)
    given: dict[str, object] = {}
    current_app.update_template_context(given)
    context = copy_context()

    def render(event: Event, text: str, css_class: str) -> str:
        names = {**given, "event": event, "text": escape(text), "css_class": css_class}
        return context.run(template.render, names)

    return render
