"""Reads `response_format` of the chat completions API: the form that the answer shall have.

https://platform.openai.com/docs/api-reference/chat/create#chat_create-response_format
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated
from typing import Any

import msgspec

from ..core.schema import Schema
from ..core.schema import schema_of
from ..errors import InvalidField
from ..errors.validation import split_message

FIELD = "response_format"

MAX_SCHEMA_BYTES = 131_072
"""As JSON. OpenAI takes about as much."""

MAX_NESTING = 64
"""Levels of JSON. OpenAI takes ten levels of objects, and each of them is two or three levels of the schema."""


class Text(msgspec.Struct, tag_field="type", tag="text", forbid_unknown_fields=True):
    """The default."""


class JSONObject(msgspec.Struct, tag_field="type", tag="json_object", forbid_unknown_fields=True):
    """Any JSON object."""


class _JSONSchema(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    name: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}\Z")]
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    description: str | None = None


class JSONSchema(msgspec.Struct, tag_field="type", tag="json_schema", forbid_unknown_fields=True):
    json_schema: _JSONSchema


ResponseFormat = Text | JSONObject | JSONSchema


def options_of(response_format: ResponseFormat | None) -> dict[str, Any]:
    """As options of a `ChatRequest`. Raises `InvalidField` for a schema that is too large."""
    if response_format is None or isinstance(response_format, Text):
        return {}
    if isinstance(response_format, JSONSchema):
        _check_size(response_format.json_schema.schema)
    return {FIELD: msgspec.to_builtins(response_format)}


def options_of_program(
    schema: Any, response_format: Mapping[str, Any] | None, *, has_source: bool = False
) -> tuple[Schema | None, dict[str, Any]]:
    """What the app's own code asks for. `has_source`: there is an iterable, so no request has these options.

    Raises `TypeError` and `InvalidField`.
    """
    if schema is None and response_format is None:
        return None, {}
    if has_source:
        raise TypeError(
            "schema= and response_format= belong to a request: pass messages= or prompt=, or call llm.events(schema=…)"
            " in the generator"
        )
    if schema is None:
        return None, options_of(_converted(response_format))
    if response_format is not None:
        raise TypeError("give either schema or response_format")
    asked = schema_of(schema)
    return asked, {FIELD: asked.response_format}


def _converted(response_format: Mapping[str, Any] | None) -> ResponseFormat:
    try:
        return msgspec.convert({FIELD: response_format}, _Holder).response_format
    except (msgspec.ValidationError, RecursionError) as error:
        problem, field = split_message(error)
        raise InvalidField(f"The field '{field or FIELD}' is wrong: {problem}.") from error


class _Holder(msgspec.Struct):
    response_format: ResponseFormat


def _check_size(schema: dict[str, Any] | None) -> None:
    where = f"{FIELD}.json_schema.schema"
    try:
        size = len(msgspec.json.encode(schema))
    except RecursionError as error:
        raise InvalidField(f"The field '{where}' is nested too deeply.") from error
    if size > MAX_SCHEMA_BYTES:
        raise InvalidField(f"The field '{where}' has {size} bytes, and may have {MAX_SCHEMA_BYTES} at most.")
    level: list[Any] = [schema]
    for _ in range(MAX_NESTING):
        level = [child for each in level for child in _children(each)]
    if level:
        raise InvalidField(f"The field '{where}' may have {MAX_NESTING} levels of nesting at most.")


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
