"""The schema that an app gives for an answer: any type that pydantic can check."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from pydantic import BaseModel
from pydantic import RootModel
from pydantic import ValidationError
from pydantic import create_model
from pydantic.errors import PydanticUserError
from pydantic_core import from_json

from ..errors import InvalidOutput
from ..upstream.sdk import strict_schema_of

WRAPPER = "value"
"""The field that wraps a type that is not an object: OpenAI requires an object at the root."""

MAX_NAME = 64

DIGITS = "0123456789+-."


class WrongForm(Exception):
    """Where an answer does not match its schema. Written to the operator's log, so it leaves out the answer's text."""


class Schema:
    """A type, and the schema that asks a model for it. A list, a union or a number is wrapped in an object."""

    def __init__(self, kind: Any) -> None:
        """Raises `TypeError` if pydantic cannot validate `kind`, or has no JSON schema for it."""
        try:
            self._model, self._is_wrapped = _model_of(kind)
            schema = strict_schema_of(self._model)
        except PydanticUserError as error:
            raise TypeError(f"schema= got {kind!r}, which has no JSON schema: {error.message}") from error
        self.response_format: dict[str, Any] = {
            "type": "json_schema",
            "json_schema": {"name": _name_of(kind), "schema": schema, "strict": True},
        }
        """`response_format` of the chat completions API, as OpenAI's strict mode requires it."""

    def so_far(self, text: str) -> Any:
        """The value of an answer that is still incomplete. Raises `ValueError` if no value has begun.

        Leaves out a number at the end: more digits may follow, or it is not a number yet, like `1e`.
        """
        if text[-1:] in DIGITS and not _ends_in_string(text):
            text = text.rstrip(DIGITS)
        value = from_json(text, allow_partial="trailing-strings", allow_inf_nan=False)
        return self._unwrapped(value)

    def whole(self, text: str) -> Any:
        """The value of a complete answer. Raises `InvalidOutput` if `text` does not match the type."""
        try:
            value = from_json(text, allow_inf_nan=False)
            self._model.model_validate_json(text)
        except ValidationError as error:
            raise InvalidOutput() from WrongForm(_problems_in(error))
        except ValueError as error:
            raise InvalidOutput() from WrongForm(str(error))
        return self._unwrapped(value)

    def _unwrapped(self, value: Any) -> Any:
        if not self._is_wrapped:
            return value
        if not isinstance(value, dict) or WRAPPER not in value:
            raise ValueError("the value has not begun")
        return value[WRAPPER]


def schema_of(kind: Any) -> Schema:
    """Raises `TypeError`."""
    try:
        hash(kind)
    except TypeError:
        return Schema(kind)
    return _kept(kind)


_kept = lru_cache(maxsize=128)(Schema)
"""Making a `Schema` takes a millisecond. It has no state, so streams can share it."""


def _model_of(kind: Any) -> tuple[type[BaseModel], bool]:
    """A pydantic model for the type, and whether the type is wrapped in it."""
    if isinstance(kind, (dict, str)):
        raise TypeError("schema= takes a type; pass a JSON schema as response_format=")
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    model: type[BaseModel] = kind if is_model else RootModel[kind]
    if _is_object(model.model_json_schema()):
        return model, False
    fields: dict[str, Any] = {WRAPPER: (kind, ...)}
    return create_model("Answer", **fields), True


def _is_object(schema: dict[str, Any]) -> bool:
    """Whether the schema describes an object. Its root may be a `$ref`, if the type refers to itself."""
    if ref := schema.get("$ref"):
        schema = schema["$defs"][ref.rpartition("/")[2]]
    return schema.get("type") == "object"


def _ends_in_string(text: str) -> bool:
    plain = re.sub(r"\\.", "", text, flags=re.DOTALL) if "\\" in text else text
    return plain.count('"') % 2 == 1


def _name_of(kind: Any) -> str:
    return re.sub(r"[^a-zA-Z0-9_-]", "_", getattr(kind, "__name__", ""))[:MAX_NAME] or "answer"


def _problems_in(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(f"{'.'.join(map(str, problem['loc'])) or 'the root'}: {problem['type']}" for problem in problems)
