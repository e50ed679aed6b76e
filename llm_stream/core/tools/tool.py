"""A Python function that the model may call."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel
from pydantic import ConfigDict
from pydantic import Field
from pydantic import ValidationError
from pydantic import create_model
from pydantic.errors import PydanticUserError
from pydantic.json_schema import GenerateJsonSchema

NAME = r"[a-zA-Z0-9_-]{1,64}"
"""https://platform.openai.com/docs/api-reference/chat/create"""


class ToolError(Exception):
    """Raise this in a tool to tell the model what went wrong: its text is sent to the model and to the reader."""


class WrongArguments(Exception):
    """The model's arguments do not fit the function. The text says why, for the model."""


class Tool:
    """A function with its schema: `{"type": "function", …}` of the chat completions API.

    The description is the docstring. pydantic makes the parameters' schema from their annotations:
    `Annotated[int, Field(description="In days.", ge=1)]` describes a parameter and limits its value.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        concurrent: bool = False,
        needs_approval: bool = False,
        deadline_s: float | None = None,
    ) -> None:
        """Raises `TypeError` for a function that cannot be a tool."""
        self.function = function
        self.name = name or function.__name__
        self.concurrent = concurrent
        self.needs_approval = needs_approval
        self.deadline_s = deadline_s
        if inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"the tool {self.name!r} is async: tools run in threads, so write it as a plain function")
        self._arguments = _model_of(function, self.name)
        self.schema = {"type": "function", "function": self._description()}

    def parse(self, arguments: str) -> dict[str, Any]:
        """The keyword arguments from the model's JSON. Raises `WrongArguments`."""
        try:
            parsed = self._arguments.model_validate_json(arguments.strip() or "{}")
        except ValidationError as error:
            raise WrongArguments(_problems_in(error)) from error
        fields = self._arguments.model_fields
        return {fields[name].alias or name: getattr(parsed, name) for name in parsed.model_fields_set}

    def _description(self) -> dict[str, Any]:
        parameters = self._arguments.model_json_schema(schema_generator=_Schema)
        parameters.pop("title", None)
        description = inspect.getdoc(self.function)
        return {"name": self.name} | ({"description": description} if description else {}) | {"parameters": parameters}


class _Schema(GenerateJsonSchema):
    def field_title_should_be_set(self, schema: Any) -> bool:
        """No titles: they repeat the names, and the model pays for each token."""
        return False


def _model_of(function: Callable[..., Any], name: str) -> type[BaseModel]:
    """The model's fields have generated names: a parameter's own name may clash with an attribute of `BaseModel`."""
    fields: dict[str, Any] = {}
    for number, parameter in enumerate(inspect.signature(function, eval_str=True).parameters.values()):
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"the tool {name!r} has the parameter '{parameter}': only named parameters are allowed")
        if parameter.annotation is parameter.empty:
            raise TypeError(f"the parameter {parameter.name!r} of the tool {name!r} has no type")
        default: Mapping[str, Any] = {} if parameter.default is parameter.empty else {"default": parameter.default}
        fields[f"parameter_{number}"] = (parameter.annotation, Field(alias=parameter.name, **default))
    try:
        return create_model(name, __config__=ConfigDict(extra="forbid"), **fields)
    except PydanticUserError as error:
        raise TypeError(f"the tool {name!r} has a parameter without a JSON schema: {error.message}") from error


def _problems_in(error: ValidationError) -> str:
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    return "; ".join(
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" if problem["loc"] else problem["msg"]
        for problem in problems
    )
