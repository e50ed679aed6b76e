"""One method of a path: its parameters, its body and its responses."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from http import HTTPStatus
from typing import Any

from ...errors import LLMStreamError
from ...errors.statuses import CLIENT_CLOSED_REQUEST
from .components import Schema
from .components import ref

Content = dict[str, Any]

JSON = "application/json"
EVENTS = "text/event-stream"
TEXT = "text/plain"


@dataclass(frozen=True, kw_only=True)
class Operation:
    tag: str
    summary: str
    description: str = ""
    parameters: Sequence[Mapping[str, Any]] = ()
    body: str | None = None
    """The component that describes the JSON body."""
    answers: Mapping[int, Content] = field(default_factory=dict)
    """The content of each successful status, by media type; empty for an empty body."""
    links: Mapping[str, str] = field(default_factory=dict)
    """Operations that take the `id` of this answer: operation id → name of the path variable."""
    errors: Sequence[type[LLMStreamError]] = ()
    form: Content = field(default_factory=lambda: {JSON: ref("Error")})
    """The content of errors, by media type."""


def events(description: str, of: Mapping[str, Schema] | None = None) -> Content:
    """An event stream. OpenAPI 3.1 cannot describe its events, so an extension lists their schemas by name.

    The schema has no type, because some tools apply it to the whole body and others to each event.
    """
    media: dict[str, Any] = {"schema": {"description": description}}
    return {EVENTS: media | ({"x-events": dict(of)} if of else {})}


def parameter(name: str, schema: Schema, description: str, *, where: str = "query", required: bool = False) -> Schema:
    return {"name": name, "in": where, "required": required, "description": description, "schema": schema}


def described(operation: Operation, operation_id: str) -> dict[str, Any]:
    result: dict[str, Any] = {"operationId": operation_id, "tags": [operation.tag], "summary": operation.summary}
    if operation.description:
        result["description"] = operation.description
    if operation.parameters:
        result["parameters"] = [dict(parameter) for parameter in operation.parameters]
    if operation.body:
        result["requestBody"] = {"required": True, "content": _content({JSON: ref(operation.body)})}
    answers = {status: _answer(_phrase(status), content) for status, content in operation.answers.items()}
    for linked, variable in operation.links.items():
        links = answers[min(answers)].setdefault("links", {})
        links[linked] = {"operationId": linked, "parameters": {variable: "$response.body#/id"}}
    result["responses"] = {str(status): answer for status, answer in sorted((answers | _errors(operation)).items())}
    return result


def _errors(operation: Operation) -> dict[int, dict[str, Any]]:
    """The error responses by status. Each lists its codes and their meanings."""
    by_status: dict[int, dict[str, str]] = defaultdict(dict)
    for error in operation.errors:
        by_status[error.status].setdefault(error.code, " ".join((error.__doc__ or "").split()))
    return {
        status: _answer("\n".join(f"- `{code}`: {meaning}" for code, meaning in codes.items()), operation.form)
        for status, codes in by_status.items()
    }


def _answer(description: str, content: Content) -> dict[str, Any]:
    return {"description": description} | ({"content": _content(content)} if content else {})


def _content(content: Content) -> dict[str, Any]:
    return {media: what if "schema" in what else {"schema": what} for media, what in content.items()}


def _phrase(status: int) -> str:
    return "Client Closed Request" if status == CLIENT_CLOSED_REQUEST else HTTPStatus(status).phrase
