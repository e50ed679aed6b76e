"""What the model is told of a tool, and which functions can be one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import Enum
from typing import Annotated
from typing import Any
from typing import Literal

import pytest
from pydantic import BaseModel
from pydantic import Field

from llm_stream import LLMStream
from llm_stream.core.tools.tool import Tool
from llm_stream.core.tools.tool import WrongArguments


class Unit(Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(BaseModel):
    city: str
    country: str = "IN"


def forecast(
    place: Place,
    days: Annotated[int, Field(ge=1, le=7, description="How many days.")] = 1,
    unit: Unit = Unit.C,
    *,
    form: Literal["short", "long"] | None = None,
) -> None:
    """The weather to come.

    For a week at most.
    """


def test_schema_comes_from_the_signature_and_the_docstring() -> None:
    function = Tool(forecast).schema["function"]
    assert function["name"] == "forecast"
    assert function["description"] == "The weather to come.\n\nFor a week at most."
    parameters = function["parameters"]
    assert parameters["required"] == ["place"]
    assert parameters["additionalProperties"] is False
    days = {"type": "integer", "minimum": 1, "maximum": 7, "default": 1, "description": "How many days."}
    assert parameters["properties"]["days"] == days
    assert parameters["properties"]["form"]["anyOf"][0]["enum"] == ["short", "long"]


def test_arguments_arrive_as_the_types_of_the_signature() -> None:
    arguments = Tool(forecast).parse('{"place": {"city": "Pune"}, "unit": "fahrenheit"}')
    assert arguments == {"place": Place(city="Pune"), "unit": Unit.F}


@pytest.mark.parametrize("text", ["", "  ", "{}"])
def test_tool_without_parameters_takes_no_arguments_in_any_form(text: str) -> None:
    def now() -> None: ...

    assert Tool(now).parse(text) == {}


@pytest.mark.parametrize(
    "text, problem",
    [
        ("{", "Invalid JSON"),
        ("[]", "Input should be"),
        ('{"place": {}}', "place.city: Field required"),
        ('{"place": {"city": "x"}, "days": 8}', "days: Input should be less than or equal to 7"),
        ('{"place": {"city": "x"}, "colour": 1}', "colour: Extra inputs are not permitted"),
    ],
)
def test_wrong_arguments_name_the_parameter_and_the_problem(text: str, problem: str) -> None:
    with pytest.raises(WrongArguments) as raised:
        Tool(forecast).parse(text)
    assert problem in str(raised.value)


def test_parameters_may_be_named_like_attributes_of_a_model() -> None:
    def odd(schema: str, copy: int, model_config: bool, _hidden: str = "x") -> None: ...

    names = list(Tool(odd).schema["function"]["parameters"]["properties"])
    assert names == ["schema", "copy", "model_config", "_hidden"]
    assert Tool(odd).parse('{"schema": "s", "copy": 1, "model_config": true}')["copy"] == 1


def untyped(city) -> None: ...  # type: ignore[no-untyped-def]
def variadic(*cities: str) -> None: ...
def open_ended(**options: str) -> None: ...
async def asynchronous(city: str) -> None: ...
async def asynchronous_generator() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("function", [untyped, variadic, open_ended, asynchronous, asynchronous_generator])
def test_function_that_cannot_be_a_tool_is_refused_where_it_is_decorated(function: Any) -> None:
    with pytest.raises(TypeError, match=function.__name__):
        LLMStream("llm", __name__).tool(function)


def test_names_are_checked_where_the_tool_is_decorated() -> None:
    llm = LLMStream("llm", __name__)
    llm.tool(forecast)
    with pytest.raises(ValueError, match="already"):
        llm.tool(forecast)
    with pytest.raises(ValueError, match="letters"):
        llm.tool(name="two words")(forecast)
    assert llm.tool(name="forecast2")(forecast) is forecast
