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
"""The name under which a type that is no object is asked for: OpenAI wants an object at the root."""

MAX_NAME = 64

DIGITS = "0123456789+-."


class WrongForm(Exception):
    """Where the answer does not fit, for the operator's log. The answer itself is left out."""


class Schema:
    """A type, and how a model is asked for it. A list, a union or a number is wrapped in an object."""

    def __init__(self, kind: Any) -> None:
        """Raises `TypeError` if pydantic cannot check it, or cannot describe it as JSON."""
        try:
            self._model, self._is_wrapped = _model_of(kind)
            schema = strict_schema_of(self._model)
        except PydanticUserError as error:
            raise TypeError(f"the schema {kind!r} is no type that JSON can describe: {error.message}") from error
        self.response_format: dict[str, Any] = {
            "type": "json_schema",
            "json_schema": {"name": _name_of(kind), "schema": schema, "strict": True},
        }
        """In the form of the chat completions API, with what OpenAI's strict mode demands."""

    def so_far(self, text: str) -> Any:
        """The value at the end of which the model is writing. Raises `ValueError` if there is none yet.

        A number at the end is left out: it may go on, or not even be one yet, as `1e`.
        """
        if text[-1:] in DIGITS and not _ends_in_string(text):
            text = text.rstrip(DIGITS)
        value = from_json(text, allow_partial="trailing-strings", allow_inf_nan=False)
        return self._unwrapped(value)

    def whole(self, text: str) -> Any:
        """The JSON of a whole answer, which fits the type. Raises `InvalidOutput`."""
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
"""To make one takes a millisecond. It has no state."""


def _model_of(kind: Any) -> tuple[type[BaseModel], bool]:
    """A model of pydantic's for the type, and whether the type is wrapped in it."""
    if isinstance(kind, (dict, str)):
        raise TypeError("schema= takes a type; pass a JSON schema as response_format=")
    is_model = isinstance(kind, type) and issubclass(kind, BaseModel)
    model: type[BaseModel] = kind if is_model else RootModel[kind]
    if _is_object(model.model_json_schema()):
        return model, False
    fields: dict[str, Any] = {WRAPPER: (kind, ...)}
    return create_model("Answer", **fields), True


def _is_object(schema: dict[str, Any]) -> bool:
    """Whether all values are objects. At the root there may be a reference, if the type refers to itself."""
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
