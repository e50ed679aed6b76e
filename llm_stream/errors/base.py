"""What all errors have in common."""

from __future__ import annotations

import secrets
from typing import ClassVar

from ..events import Failure
from ..events import Status


def new_error_id() -> str:
    """What a reader can quote, and an operator find in the log."""
    return secrets.token_hex(6)


class LLMStreamError(Exception):
    """Everything this library raises. `str(error)` is safe to show to anybody."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"
    message: ClassVar[str] = "Something went wrong. Please try again."
    retryable: ClassVar[bool] = False
    ending: ClassVar[Status] = "failed"

    def __init__(self, message: str | None = None, *, retry_after: float | None = None) -> None:
        super().__init__(message or self.message)
        self.retry_after = retry_after
        self.error_id = new_error_id()

    def failure(self) -> Failure:
        """What may leave the server: in an event, or as the body of a JSON error."""
        return Failure(
            code=self.code,
            message=str(self),
            retryable=self.retryable,
            error_id=self.error_id,
            retry_after=self.retry_after,
        )


class ConfigError(LLMStreamError):
    """A setting that is missing, misspelt or of the wrong type."""

    code = "config"
