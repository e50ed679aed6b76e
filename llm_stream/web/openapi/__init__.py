"""Describes the routes of an `LLMStream` in OpenAPI 3.1, generated from the code's rules, structs and errors.

The first request for the description imports this package.
https://spec.openapis.org/oas/v3.1.0
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version
from typing import Any

from werkzeug.routing import Rule

from .components import COMPONENTS
from .operation import described
from .operations import OPERATIONS
from .paths import parameters_of
from .paths import path_of

INFO = """\
Answers of a language model, streamed. A stream is a numbered log of events: one producer writes it, and any number of \
readers follow it, each from the number that it has.

The app decides who may start and read streams. Its `authorize` may respond with any status, and so may middleware \
such as a rate limiter. `GET …/v1/models` lists the models that are allowed."""


def document(rules: Iterable[Rule], prefix: str, left_out: Collection[str]) -> dict[str, Any]:
    """The description of `rules`, whose endpoints begin with `prefix`. It omits the views in `left_out`."""
    paths: dict[str, dict[str, Any]] = {}
    for rule in rules:
        view = rule.endpoint.removeprefix(prefix)
        if view in left_out or view not in OPERATIONS:  # an app may have added its own views
            continue
        path, variables = path_of(rule.rule), parameters_of(rule.rule)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            operation = described(OPERATIONS[view], f"{view.replace('.', '_')}_{method.lower()}")
            paths.setdefault(path, {"parameters": variables} if variables else {})[method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "flask-llm-stream", "version": _version(), "description": INFO},
        "paths": paths,
        "components": {"schemas": COMPONENTS},
    }


def _version() -> str:
    try:
        return version("flask-llm-stream")
    except PackageNotFoundError:  # run from a clone
        return "0"
