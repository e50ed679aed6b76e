"""Parses and validates the requests of each protocol into a `ChatRequest`."""

from __future__ import annotations

from ..errors import InvalidField


class WrongParameter(InvalidField):
    """`InvalidField` with OpenAI's status and the parameter's name."""

    status = 400

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param
