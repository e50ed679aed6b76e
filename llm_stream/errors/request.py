"""Errors that refuse a request before anything is bought."""

from __future__ import annotations

from .base import LLMStreamError


class RequestError(LLMStreamError):
    """The request is invalid."""

    status = 400
    code = "invalid_request"
    message = "The request is not valid."


class InvalidField(RequestError):
    """A field of the body or the query is missing, of the wrong type, or not allowed."""

    status = 422
    code = "invalid_field"


class Unauthorized(RequestError):
    """`authorize` returned no owner."""

    status = 401
    code = "unauthorized"
    message = "Sign in to use this."


class OverBudget(RequestError):
    """The maximum cost of the answer exceeds what the owner's budget has left."""

    status = 402
    code = "over_budget"
    message = "Your budget does not cover this."
    ending = "over_budget"


class BudgetHeld(OverBudget):
    """Running answers have reserved the rest of the budget. A retry fits if they cost less than their maximum."""

    retryable = True


class Unpriced(OverBudget):
    """No upper bound of the cost is known: no price in the budget's currency, or an input of unknown size (images)."""

    code = "unpriced"
    message = "What this would cost is not known, so no budget can cover it. Please tell the operator of this site."


class CrossSite(RequestError):
    """The request comes from another site, whose origin is not in LLM_STREAM_ORIGINS."""

    status = 403
    code = "cross_site"
    message = "Requests from other sites are not allowed."


class Prefetch(CrossSite):
    """The browser prefetches a URL that its user has not opened."""

    code = "prefetch"
    message = "An answer is not fetched ahead of being asked for."


class UsageClosed(RequestError):
    """`authorize_usage` is missing, or denied access."""

    status = 403
    code = "usage_closed"
    message = "You may not see what was spent here."


class NoLedger(RequestError):
    """LLM_STREAM_LEDGER_URL is not set, so there is no usage to report."""

    status = 404
    code = "no_ledger"
    message = "No usage is kept here: set LLM_STREAM_LEDGER_URL, for example to sqlite:////var/lib/app/usage.db"


class UnknownStream(RequestError):
    """The stream does not exist, or belongs to another owner."""

    status = 404
    code = "unknown_stream"
    message = "There is no such stream."


class KeyConflict(RequestError):
    """The key was already used for a different request."""

    status = 409
    code = "key_conflict"
    message = "This key belongs to another request. Make a new key for a new question."


class ExpiredStream(RequestError):
    """The stream ended longer ago than LLM_STREAM_RETENTION_S."""

    status = 410
    code = "expired_stream"
    message = "This answer is no longer kept. Ask again."


class TooLarge(RequestError):
    """The body is over LLM_STREAM_MAX_REQUEST_BYTES."""

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
    message = "Too many answers are being written for you at once. Wait for one to end."
    retryable = True


class Overloaded(RequestError):
    """The worker already has LLM_STREAM_MAX_STREAMS running answers."""

    status = 503
    code = "overloaded"
    message = "The server is busy. Please try again in a moment."
    retryable = True


class SeveralProcesses(RequestError):
    """Several processes serve the app, and LLM_STREAM_LOG_URL is memory://, which they do not share."""

    status = 503
    code = "several_processes"
    message = "The server is not set up to answer this. Please tell the operator of this site."


class LogUnavailable(RequestError):
    """The Redis or Valkey of LLM_STREAM_LOG_URL does not answer in time. Nothing is bought without it."""

    status = 503
    code = "log_unavailable"
    message = "The server cannot reach its answers at the moment. Please try again in a moment."
    retryable = True


class LedgerUnavailable(RequestError):
    """The database of LLM_STREAM_LEDGER_URL cannot be written to. Nothing is bought without a record."""

    status = 503
    code = "ledger_unavailable"
    message = "The server cannot take this on at the moment. Please try again in a moment."
    retryable = True
