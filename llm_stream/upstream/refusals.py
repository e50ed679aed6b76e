"""What went wrong upstream, in our own words: the only place that names the SDK's and the transport's exceptions.

What a reader is told, and what is logged, depends on the status and the code alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import openai

from ..errors import ContextTooLong
from ..errors import StreamError
from ..errors import UpstreamError
from ..errors import UpstreamGarbled
from ..errors import UpstreamRefused
from ..errors import UpstreamRejected
from ..errors import UpstreamThrottled
from ..errors import UpstreamTimeout
from ..errors import UpstreamUnreachable
from .error_objects import code_of
from .error_objects import status_of

LONGEST_LOGGED = 300
LONGEST_RETRY_AFTER_S = 86_400


def translate(error: Exception) -> StreamError:
    """Our error for one that a call raised; keep the original as its cause: `raise translate(e) from e`."""
    if isinstance(error, StreamError):
        return error
    if isinstance(error, openai.APIStatusError):
        status = status_of({"status": error.status_code, "code": error.code, "type": error.type})
        return _of_status(status, retry_after_of(error.response.headers))
    if isinstance(error, openai.APIConnectionError):
        return _of_transport(error.__cause__) if error.__cause__ else UpstreamUnreachable()
    if isinstance(error, openai.APIError):
        return UpstreamError()
    if isinstance(error, openai.OpenAIError):  # no key, or a client that cannot be made
        return UpstreamRefused()
    if isinstance(error, ValueError):  # JSON and Unicode
        return UpstreamGarbled()
    return _of_transport(error)


def is_answer(error: Exception) -> bool:
    """Whether the upstream has said no, as against nothing."""
    return isinstance(error, openai.APIStatusError)


def error_in_body(error: Any) -> UpstreamError:
    """Our error for an error object in a body or an event that came with the status 200."""
    status, code = status_of(error), code_of(error)
    ours = _of_status(status)
    ours.__cause__ = RuntimeError(f"error in the body: status={status} code={code!r}")
    return ours


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds. Dates are not read: no provider in use sends them."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers[name]) * unit
        except (KeyError, ValueError):
            continue
        if 0 <= seconds <= LONGEST_RETRY_AFTER_S:
            return seconds
    return None


def describe(error: BaseException | None) -> str:
    """One line for the operator's log. The provider's message is left out: it may repeat the prompt."""
    if error is None:
        return "no further cause"
    if isinstance(error, openai.APIStatusError):
        return (
            f"HTTP {error.status_code} code={error.code!r} type={error.type!r} param={error.param!r}"
            f" request_id={error.request_id!r}"
        )
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        return f"{type(error.__cause__).__name__}: {_short(error.__cause__)}"
    return f"{type(error).__name__}: {_short(error)}"


def _of_status(status: int, retry_after: float | None = None) -> UpstreamError:
    if status == 413:
        return ContextTooLong()
    if status == 429:
        return UpstreamThrottled(retry_after=retry_after)
    if status in (401, 402, 403, 404):
        return UpstreamRefused()
    if 400 <= status < 500 and status != 408:
        return UpstreamRejected()
    return UpstreamError(retry_after=retry_after)


def _of_transport(error: BaseException) -> UpstreamError:
    name = type(error).__name__  # by name: the transport may be httpx2, httpx, or one of the user's own
    if name == "ConnectTimeout" or not name.endswith("Timeout"):
        return UpstreamUnreachable()
    return UpstreamTimeout()


def _short(message: object) -> str:
    text = " ".join(str(message or "").split())
    return text if len(text) <= LONGEST_LOGGED else text[:LONGEST_LOGGED] + "…"
