"""Reads `response_format` of the chat completions API: the requested format of the answer.

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
"""The size as JSON. OpenAI's limit is about the same."""

MAX_NESTING = 64
"""Levels of JSON. OpenAI accepts ten levels of objects. Each of them takes two or three levels in the schema."""


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
    """Converts it to options of a `ChatRequest`. Raises `InvalidField` for a schema that is too large."""
    if response_format is None or isinstance(response_format, Text):
        return {}
    if isinstance(response_format, JSONSchema):
        _check_size(response_format.json_schema.schema)
    return {FIELD: msgspec.to_builtins(response_format)}


def options_of_program(
    schema: Any, response_format: Mapping[str, Any] | None, *, has_source: bool = False
) -> tuple[Schema | None, dict[str, Any]]:
    """The schema and the options for a call from the app's own code.

    `has_source`: the app passed an iterable, so there is no request that could have options.

    Raises `TypeError` and `InvalidField`.
    """
    if schema is None and response_format is None:
        return None, {}
    if has_source:
        raise TypeError(
            "schema= and response_format= need messages= or prompt=, not an iterable:"
            " call llm.events(schema=…) inside the generator instead"
        )
    if schema is None:
        return None, options_of(_converted(response_format))
    if response_format is not None:
        raise TypeError("pass either schema= or response_format=, not both")
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
        raise InvalidField(f"The field '{where}' has {size} bytes as JSON; the limit is {MAX_SCHEMA_BYTES}.")
    level: list[Any] = [schema]
    for _ in range(MAX_NESTING):
        level = [child for each in level for child in _children(each)]
    if level:
        raise InvalidField(f"The field '{where}' has too many levels of nesting; the limit is {MAX_NESTING}.")


def _children(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []
