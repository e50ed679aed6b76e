"""Translates upstream errors into ours: exceptions of the SDK and the transport, error objects in bodies and events.

Only the HTTP status and the provider's code determine the reader's error and the log line. Error objects have one of
these formats: OpenAI's `{"error": {…}}`, with a string or with Anthropic's and Google's fields in it; flat (vLLM,
Mistral); FastAPI's `{"detail": …}`; problem details (RFC 9457); or a gateway's `{"code": …, "message": …}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from http import HTTPStatus
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

LONGEST_LOGGED = 300
LONGEST_RETRY_AFTER_S = 86_400

UNKNOWN = 500
DEPTH = 3
LONGEST_WORD = 64
MESSAGES = ("message", "msg", "title")
CODES = ("code", "type", "error_type")
WORDS = (*CODES, "status", "title", "error", "detail", "message")
NUMBERS = ("status", "status_code", "raw_status_code", "code")
NO_ERROR = ("", "ok", "success", "succeeded")


def key_of(word: str) -> str:
    """Normalise an error name: `rate_limit_error`, `RateLimitError` and `Rate limit` get the same key."""
    key = "".join(filter(str.isalnum, word.lower()))
    return key.removesuffix("error").removesuffix("exception")


STATUS_OF_WORD = {
    **{key_of(status.phrase): status.value for status in HTTPStatus if status >= 400},
    **dict.fromkeys(("badrequest", "invalidrequest", "invalidargument", "invalidparameter", "invalidprompt"), 400),
    **dict.fromkeys(("authentication", "unauthenticated", "invalidapikey", "notauthenticated"), 401),
    **dict.fromkeys(("insufficientquota", "insufficientcredits", "insufficientfunds", "insufficientbalance"), 402),
    **dict.fromkeys(("billing", "billinghardlimitreached", "billingnotactive"), 402),
    **dict.fromkeys(("permission", "permissiondenied"), 403),
    "modelnotfound": 404,
    "validation": 422,
    **dict.fromkeys(("ratelimit", "ratelimited", "ratelimitexceeded", "ratelimitreached"), 429),
    **dict.fromkeys(("requests", "tokens", "resourceexhausted", "throttling", "engineoverloaded"), 429),
    **dict.fromkeys(("contextlengthexceeded", "exceedcontextsize", "stringabovemaxlength"), 413),
}
"""The status of each error name. `requests` and `tokens` are OpenAI's names for the rate limit that was hit."""

DECISIVE = (413, 402)
"""An error name with one of these statuses is more specific than a number such as 400 or 429 in the same object."""


def translate(error: Exception) -> StreamError:
    """Our error for an exception of a call. Keep the exception as its cause: `raise translate(e) from e`."""
    if isinstance(error, StreamError):
        return error
    if isinstance(error, openai.APIStatusError):
        told = {"status": error.status_code, "code": error.code, "type": error.type}
        status = 401 if _is_about_the_key(error.body) else status_of(told)
        return _of_status(status, retry_after_of(error.response.headers) or _delay_in(error.body))
    if isinstance(error, openai.APIConnectionError):
        return _of_transport(error.__cause__) if error.__cause__ else UpstreamUnreachable()
    if isinstance(error, openai.APIError):
        return UpstreamError()
    if isinstance(error, openai.OpenAIError):  # no API key, or the client cannot be constructed
        return UpstreamRefused()
    if isinstance(error, ValueError):  # JSON and Unicode
        return UpstreamGarbled()
    return _of_transport(error)


def is_answer(error: Exception) -> bool:
    """Whether the upstream answered with an error status. False if it did not answer."""
    return isinstance(error, openai.APIStatusError)


def error_in_body(error: Any) -> UpstreamError:
    """Our error for an error object in a body or an event that came with the status 200."""
    status, code = status_of(error), code_of(error)
    ours = _of_status(status)
    ours.__cause__ = RuntimeError(f"error in the body: status={status} code={code!r}")
    return ours


def is_error(body: Mapping[str, Any]) -> bool:
    """Whether an object is marked as an error."""
    return bool(body.get("error")) or "error" in (body.get("object"), body.get("type"))


def is_refusal(body: Mapping[str, Any]) -> bool:
    """Whether an object before the first chunk is an error, even without a mark."""
    if is_error(body):
        return True
    if body.get("choices"):
        return False
    if body.get("detail") or body.get("errors"):
        return True
    return any(body.get(name) and isinstance(body[name], str) for name in MESSAGES) and (
        _is_bad_code(body.get("code"))
        or _is_bad_status(body.get("status"))
        or _is_bad_status(body.get("status_code"))
        or "error" in str(body.get("type")).lower()
    )


def status_of(error: Any) -> int:
    """The HTTP status of an error object; 500 if the object does not have any."""
    objects = list(_objects(error, DEPTH))
    by_number, by_word = list[int](), list[int]()
    for each in objects:
        by_number += filter(None, map(_status, _values(each, NUMBERS)))
        by_word += filter(None, map(_status_of_word, _values(each, WORDS)))
    if decisive := [status for status in by_word if status in DECISIVE]:
        return decisive[0]
    if not (by_number or by_word) and any(isinstance(each.get("detail"), list) for each in objects):
        return 422  # FastAPI lists the invalid fields
    return (by_number + by_word + [UNKNOWN])[0]


def code_of(error: Any) -> str | int | None:
    """The provider's own code for the error."""
    codes = (code for each in _objects(error, DEPTH) for code in _values(each, CODES))
    return next((code for code in codes if isinstance(code, (str, int)) and code not in ("", "error")), None)


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """The `Retry-After` in seconds. Dates are not parsed, because no known provider sends them."""
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := _seconds(headers.get(name, ""), unit)) is not None:
            return seconds
    return None


def describe(error: BaseException | None) -> str:
    """One line for the operator's log, without the provider's message, which may repeat the prompt."""
    if error is None:
        return "no further cause"
    if isinstance(error, openai.APIStatusError):
        return (
            f"HTTP {error.status_code} code={error.code!r} type={error.type!r} param={error.param!r}"
            f" request_id={error.request_id!r}"
        )
    if type(error) is openai.APIError:
        return f"error in the body: status={status_of(error.body)} code={code_of(error.body)!r}"
    if isinstance(error, openai.APIConnectionError) and error.__cause__:
        error = error.__cause__
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text if len(text) <= LONGEST_LOGGED else text[:LONGEST_LOGGED] + '…'}"


def _is_about_the_key(body: Any) -> bool:
    """Whether the key is wrong. Gemini answers 400 then, with the reason in the details."""
    return any(detail.get("reason") == "API_KEY_INVALID" for detail in _details_in(body))


def _delay_in(body: Any) -> float | None:
    """Gemini's retry delay, such as `34.07s`."""
    delays = (detail["retryDelay"] for detail in _details_in(body) if isinstance(detail.get("retryDelay"), str))
    return next((_seconds(delay.removesuffix("s"), 1.0) for delay in delays), None)


def _details_in(body: Any) -> Iterator[Mapping[str, Any]]:
    for each in _objects(body, DEPTH):
        details = each.get("details")
        yield from (detail for detail in details if isinstance(detail, Mapping)) if isinstance(details, list) else ()


def _seconds(text: str, unit: float) -> float | None:
    try:
        seconds = float(text) * unit
    except ValueError:
        return None
    return seconds if 0 <= seconds <= LONGEST_RETRY_AFTER_S else None


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
    name = type(error).__name__  # by name, because the transport may be httpx2, httpx or the user's own
    if name == "ConnectTimeout" or not name.endswith("Timeout"):
        return UpstreamUnreachable()
    return UpstreamTimeout()


def _objects(error: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """An error object and the objects that wrap it, innermost first."""
    if isinstance(error, list):
        error = next(iter(error), None)
    if isinstance(error, str):
        yield {"message": error}
    if isinstance(error, Mapping):
        for name in ("error", "errors", "detail") if depth else ():
            if isinstance(error.get(name), (Mapping, list)):
                yield from _objects(error[name], depth - 1)
        yield error


def _values(body: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [body[name] for name in names if name in body]


def _number(value: Any) -> int | None:
    if isinstance(value, str) and value.isdecimal() and value.isascii():
        return int(value[:9])
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _status(value: Any) -> int | None:
    number = _number(value)
    return number if number is not None and 400 <= number < 600 else None


def _status_of_word(word: Any) -> int | None:
    return STATUS_OF_WORD.get(key_of(word)) if isinstance(word, str) and len(word) <= LONGEST_WORD else None


def _is_bad_code(code: Any) -> bool:
    number = _number(code)
    if number is not None:
        return number != 0 and not 100 <= number < 400
    return isinstance(code, str) and code.lower() not in NO_ERROR


def _is_bad_status(status: Any) -> bool:
    """Whether a status is an error. Only known error words count, because other words tell the answer's progress."""
    if isinstance(status, str) and not status.isdecimal():
        return _status_of_word(status) is not None or status.lower() in ("error", "failed", "failure", "fail")
    return _status(status) is not None
