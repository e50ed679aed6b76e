"""The schemas that the routes share. msgspec generates the schemas of requests and events from their structs."""

from __future__ import annotations

from typing import Any

import msgspec

from ...errors import ConfigError
from ...errors.statuses import STATUSES
from ...events import KINDS
from ...requests import agui
from ...requests import native
from ...requests import openai
from ...requests import responses
from ...requests import ui
from ...requests.conversation import ROLES
from ...wire.answer import Snapshot

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


COMPONENTS: dict[str, Schema] = {}


def _add(name: str, kind: Any) -> Schema:
    """Add the schema of a struct under `name`, and the schemas that it refers to under `name_…`."""
    (top,), parts = msgspec.json.schema_components([kind], ref_template="#/components/schemas/{name}")
    names = {own: f"{name}_{own.strip('_')}" for own in parts}
    names[top["$ref"].rpartition("/")[2]] = name
    COMPONENTS.update({names[own]: _translated(schema, names) for own, schema in parts.items()})
    return COMPONENTS[name]


def _translated(schema: Any, names: dict[str, str]) -> Any:
    """The schema with our names, and with ECMA patterns as JSON Schema requires: `\\Z` exists only in Python."""
    if isinstance(schema, list):
        return [_translated(each, names) for each in schema]
    if not isinstance(schema, dict):
        return schema
    translated: Schema = {}
    for key, value in schema.items():
        if key == "$ref":
            translated[key] = f"#/components/schemas/{names[value.rpartition('/')[2]]}"
        elif key == "pattern":
            translated[key] = value.replace("\\Z", "$")
        elif key == "mapping":
            translated[key] = {tag: _translated({"$ref": to}, names)["$ref"] for tag, to in value.items()}
        else:
            translated[key] = _translated(value, names)
    return translated


def _accepted(unsupported: Any) -> dict[str, Schema]:
    """The unsupported parameters, each with the values that have no effect and are therefore accepted."""
    return {name: {"enum": [None, *values]} for name, values in unsupported.items()}


def _either(*names: str) -> list[Schema]:
    return [
        {"required": [name], "properties": {name: {"not": {"type": "null"}}} | dict.fromkeys(set(names) - {name}, NULL)}
        for name in names
    ]


NULL: Schema = {"type": "null"}

_add("ChatRequest", native.BODY).update(additionalProperties=False, oneOf=_either("messages", "prompt"))
_add("UIChatRequest", ui.BODY)
_add("RunAgentInput", agui.BODY)
_options = _add("ChatCompletionOptions", openai.PASSED_ON)["properties"] | _accepted(openai.UNSUPPORTED)
_add("ChatCompletionRequest", openai.BODY)["properties"] |= _options
_add("ResponseRequest", responses.BODY)["properties"] |= _accepted(responses.UNSUPPORTED)
_add("Answer", Snapshot)
for _type, _kind in KINDS.items():
    _add(f"Event_{_type}", _kind)
del COMPONENTS["ChatCompletionOptions"]
for _message in ("ChatRequest_Message", "UIChatRequest_UIMessage"):
    COMPONENTS[_message]["properties"]["role"]["enum"] = list(ROLES)

_CODES = sorted(STATUSES.keys() - {ConfigError.code})

COMPONENTS["Error"] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["code", "message", "retryable", "error_id"],
            "properties": {
                "code": {"type": "string", "description": "A code of the app, or one of: " + ", ".join(_CODES)},
                "message": {"type": "string", "description": "A message to show to the reader."},
                "retryable": {"type": "boolean"},
                "error_id": {"type": "string", "description": "The id under which the server's log has the cause."},
            },
        }
    },
}
COMPONENTS["OpenAIError"] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code", "retryable", "error_id"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
                "retryable": {"type": "boolean"},
                "error_id": {"type": "string"},
            },
        }
    },
}
COMPONENTS["ChatCompletion"] = {
    "type": "object",
    "required": ["id", "object", "created", "model", "choices"],
    "properties": {
        "id": {"type": "string"},
        "object": {"const": "chat.completion"},
        "created": {"type": "integer"},
        "model": {"type": "string"},
        "choices": {
            "type": "array",
            "minItems": 1,
            "maxItems": 1,
            "items": {
                "type": "object",
                "required": ["index", "message", "finish_reason"],
                "properties": {
                    "index": {"const": 0},
                    "message": {"type": "object", "required": ["role", "content", "refusal"]},
                    "finish_reason": {"enum": ["stop", "length", "tool_calls", "content_filter"]},
                },
            },
        },
        "usage": {"type": "object"},
    },
}
COMPONENTS["Response"] = {
    "type": "object",
    "required": ["id", "object", "created_at", "status", "model", "output", "error", "usage"],
    "properties": {
        "id": {"type": "string", "pattern": "^resp_"},
        "object": {"const": "response"},
        "created_at": {"type": "integer"},
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        "model": {"type": "string"},
        "output": {"type": "array", "items": {"type": "object", "required": ["id", "type"]}},
        "error": {"type": ["object", "null"]},
        "usage": {"type": ["object", "null"]},
    },
}
COMPONENTS["Model"] = {
    "type": "object",
    "required": ["id", "object", "created", "owned_by"],
    "properties": {"id": {"type": "string"}, "object": {"const": "model"}},
}
