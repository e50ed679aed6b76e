"""Errors that refuse a request before the upstream is called."""

from __future__ import annotations

from .base import LLMStreamError


class RequestError(LLMStreamError):
    """The request is invalid."""

    status = 400
    code = "invalid_request"
    message = "The request is not valid. Check it and send it again."


class InvalidField(RequestError):
    """A field of the body or the query is missing, of the wrong type, or not allowed."""

    status = 422
    code = "invalid_field"


class Unauthorized(RequestError):
    """`authorize` returned no owner."""

    status = 401
    code = "unauthorized"
    message = "You are not signed in. Sign in and try again."


class OverBudget(RequestError):
    """The maximum cost of the answer exceeds what the owner's budget has left."""

    status = 402
    code = "over_budget"
    message = "Your budget does not cover the cost of this answer. Ask for a shorter answer, or wait for a new budget."
    ending = "over_budget"


class BudgetHeld(OverBudget):
    """Running answers have reserved the rest of the budget. A retry succeeds if they cost less than they reserved."""

    retryable = True


class Unpriced(OverBudget):
    """The maximum cost is unknown: no price in the budget's currency, or an input of unknown size (images)."""

    code = "unpriced"
    message = "The cost of this request is unknown, so no budget can cover it. Please tell the operator of this site."


class CrossSite(RequestError):
    """The request comes from a site whose origin is not in LLM_STREAM_ORIGINS."""

    status = 403
    code = "cross_site"
    message = "Requests from other sites are not allowed. The operator can allow an origin in LLM_STREAM_ORIGINS."


class Prefetch(CrossSite):
    """The browser prefetches a URL that the user has not opened."""

    code = "prefetch"
    message = "Answers cannot be prefetched. Open the page to get the answer."


class UsageClosed(RequestError):
    """`authorize_usage` is missing, or denied access."""

    status = 403
    code = "usage_closed"
    message = "You are not allowed to see the usage. Ask the operator of this site for access."


class NoLedger(RequestError):
    """LLM_STREAM_LEDGER_URL is not set, so there is no usage to report."""

    status = 404
    code = "no_ledger"
    message = "No usage is recorded. Set LLM_STREAM_LEDGER_URL, for example to sqlite:////var/lib/app/usage.db"


class UnknownStream(RequestError):
    """The stream does not exist, or belongs to another owner."""

    status = 404
    code = "unknown_stream"
    message = "There is no such stream."


class KeyConflict(RequestError):
    """The key was already used for a different request."""

    status = 409
    code = "key_conflict"
    message = "This key was already used for a different request. Use a new key for a new request."


class ExpiredStream(RequestError):
    """The stream ended longer ago than LLM_STREAM_RETENTION_S."""

    status = 410
    code = "expired_stream"
    message = "This answer has expired. Please ask again."


class TooLarge(RequestError):
    """The body is larger than LLM_STREAM_MAX_REQUEST_BYTES."""

    status = 413
    code = "too_large"


class NotJSON(RequestError):
    """The body is not application/json."""

    status = 415
    code = "not_json"
    message = "Send the request as JSON, with Content-Type: application/json."


class TooManyStreams(RequestError):
    """The owner already has LLM_STREAM_MAX_STREAMS_PER_OWNER running answers."""

    status = 429
    code = "too_many_streams"
    message = "You have too many running answers. Wait until one ends, then try again."
    retryable = True


class Overloaded(RequestError):
    """The worker already has LLM_STREAM_MAX_STREAMS running answers."""

    status = 503
    code = "overloaded"
    message = "The server is busy. Please try again in a moment."
    retryable = True


class SeveralProcesses(RequestError):
    """Several processes serve the app, but LLM_STREAM_LOG_URL is memory://, which processes do not share."""

    status = 503
    code = "several_processes"
    message = "The server is misconfigured and cannot answer. Please tell the operator of this site."


class LogUnavailable(RequestError):
    """The Redis or Valkey of LLM_STREAM_LOG_URL does not respond in time, so no upstream call is made."""

    status = 503
    code = "log_unavailable"
    message = "The server cannot reach its storage. Please try again in a moment."
    retryable = True


class LedgerUnavailable(RequestError):
    """The database of LLM_STREAM_LEDGER_URL cannot be written to, so no upstream call is made."""

    status = 503
    code = "ledger_unavailable"
    message = "The server cannot record the usage of an answer. Please try again in a moment."
    retryable = True
