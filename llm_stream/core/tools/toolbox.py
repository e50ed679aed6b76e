"""The tools of an app, and those that one request may use."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ...chat_request import ChatRequest
from ...errors import InvalidField
from .tool import NAME
from .tool import Tool

Schema = Mapping[str, Any]
Offered = Callable[..., Any] | Schema
"""A function that runs here, or the schema of a tool that the reader runs."""


class Toolbox:
    """Tools by name, in the order of registration."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools: dict[str, Tool] = {}
        for tool in tools:
            self.add(tool)

    def __bool__(self) -> bool:
        return bool(self._tools)

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools.values())

    def get(self, name: str | None) -> Tool | None:
        return self._tools.get(name or "")

    def add(self, tool: Tool) -> None:
        """Raises `ValueError` for a name that is taken, or that providers refuse."""
        if not re.fullmatch(NAME, tool.name):
            raise ValueError(f"a tool's name must be 1 to 64 letters, digits, _ or -: {tool.name!r}")
        if tool.name in self._tools:
            raise ValueError(f"there is a tool named {tool.name!r} already")
        self._tools[tool.name] = tool

    def chosen(self, offered: Sequence[Offered] | None) -> tuple[Toolbox, list[Schema]]:
        """The tools that run here, and the schemas of the reader's tools. None offers all tools here, and no others."""
        if offered is None:
            return self, []
        functions = [each for each in offered if not isinstance(each, Mapping)]
        return Toolbox(map(self._tool_of, functions)), [each for each in offered if isinstance(each, Mapping)]

    def _tool_of(self, function: Callable[..., Any]) -> Tool:
        return next((tool for tool in self if tool.function is function), None) or Tool(function)

    def offered_to(self, request: ChatRequest) -> ChatRequest:
        """The same request with these tools as well. Raises `InvalidField` if the reader has one of the same name."""
        if not self._tools:
            return request
        for name in names_of(request.tools or ()):
            if name in self._tools:
                raise InvalidField(f"The field 'tools' names {name[:64]!r}, which is a tool of the server.")
        tools = [*(request.tools or ()), *(tool.schema for tool in self)]
        return msgspec.structs.replace(request, tools=tools)


def names_of(schemas: Iterable[Schema]) -> set[str]:
    return {str(schema.get("function", {}).get("name")) for schema in schemas}
