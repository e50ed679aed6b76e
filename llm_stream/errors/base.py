"""The base class of all errors."""

from __future__ import annotations

import secrets
from typing import ClassVar

from ..events import Failure
from ..events import Status


def new_error_id() -> str:
    """A random id that links a response to its line in the server's log."""
    return secrets.token_hex(6)


class LLMStreamError(Exception):
    """Base class of everything this library raises. `str(error)` is safe to show to end users."""

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
        """The public part of the error: sent as an event or as a JSON body."""
        return Failure(
            code=self.code,
            message=str(self),
            retryable=self.retryable,
            error_id=self.error_id,
            retry_after=self.retry_after,
        )


class ConfigError(LLMStreamError):
    """A setting is missing, misspelt or invalid."""

    code = "config"
