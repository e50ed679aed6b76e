"""The error that a body or an event holds, in whatever form, and the HTTP status that it should have come with.

OpenAI's `{"error": {…}}`, with a string or with Anthropic's and Google's fields in it; flat ones (vLLM, Mistral);
FastAPI's `{"detail": …}`; problem details (RFC 9457); what gateways write, `{"code": …, "message": …}`.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

UNKNOWN = 500
DEPTH = 3
LONGEST_WORD = 64
MESSAGES = ("message", "msg", "title")
CODES = ("code", "type", "error_type")
WORDS = (*CODES, "status", "title", "error", "detail", "message")
NUMBERS = ("status", "status_code", "raw_status_code", "code")
NO_ERROR = ("", "ok", "success", "succeeded")


def key_of(word: str) -> str:
    """`rate_limit_error`, `RateLimitError` and `Rate limit` are one word."""
    key = "".join(filter(str.isalnum, word.lower()))
    return key.removesuffix("error").removesuffix("exception")


STATUS_OF_WORD = {
    **{key_of(status.phrase): status.value for status in HTTPStatus if status >= 400},
    **dict.fromkeys(("badrequest", "invalidrequest", "invalidargument", "invalidparameter"), 400),
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
"""What errors are called. `requests` and `tokens` are OpenAI's names of what there were too many of."""

DECISIVE = (413, 402)
"""Where a word says one of these and a number says 400 or 429, the word is more exact."""


def is_error(given: Mapping[str, Any]) -> bool:
    """Whether an object calls itself an error."""
    return bool(given.get("error")) or "error" in (given.get("object"), given.get("type"))


def is_refusal(given: Mapping[str, Any]) -> bool:
    """Whether an object that comes before any chunk is an error; many do not call themselves one."""
    if is_error(given):
        return True
    if given.get("choices"):
        return False
    if given.get("detail") or given.get("errors"):
        return True
    return any(given.get(name) and isinstance(given[name], str) for name in MESSAGES) and (
        _is_bad_code(given.get("code"))
        or _is_bad_status(given.get("status"))
        or _is_bad_status(given.get("status_code"))
        or "error" in str(given.get("type")).lower()
    )


def status_of(error: Any) -> int:
    """The status of an error; 500 if it does not tell."""
    objects = list(_objects(error, DEPTH))
    told, named = list[int](), list[int]()
    for each in objects:
        told += filter(None, map(_status, _values(each, NUMBERS)))
        named += filter(None, map(_status_of_word, _values(each, WORDS)))
    if decisive := [status for status in named if status in DECISIVE]:
        return decisive[0]
    if not (told or named) and any(isinstance(each.get("detail"), list) for each in objects):
        return 422  # FastAPI lists the fields that are wrong
    return (told + named + [UNKNOWN])[0]


def code_of(error: Any) -> str | int | None:
    """The provider's own name of it."""
    codes = (code for each in _objects(error, DEPTH) for code in _values(each, CODES))
    return next((code for code in codes if isinstance(code, (str, int)) and code not in ("", "error")), None)


def _objects(error: Any, depth: int) -> Iterator[Mapping[str, Any]]:
    """An error object and those that it is wrapped in, the innermost first."""
    if isinstance(error, list):
        error = next(iter(error), None)
    if isinstance(error, str):
        yield {"message": error}
    if isinstance(error, Mapping):
        for name in ("error", "errors", "detail") if depth else ():
            if isinstance(error.get(name), (Mapping, list)):
                yield from _objects(error[name], depth - 1)
        yield error


def _values(given: Mapping[str, Any], names: tuple[str, ...]) -> list[Any]:
    return [given[name] for name in names if name in given]


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
    """A word must be known: others tell how far the answer is."""
    if isinstance(status, str) and not status.isdecimal():
        return _status_of_word(status) is not None or status.lower() in ("error", "failed", "failure", "fail")
    return _status(status) is not None
