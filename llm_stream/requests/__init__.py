"""What is asked in the words of other protocols, read as a ChatRequest."""

from __future__ import annotations

from ..errors import InvalidField


class WrongParameter(InvalidField):
    """As InvalidField, with the status that OpenAI gives it, and the name of the parameter."""

    status = 400

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param
