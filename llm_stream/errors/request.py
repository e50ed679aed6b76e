"""Why a request is refused: nothing was bought."""

from __future__ import annotations

from .base import LLMStreamError


class RequestError(LLMStreamError):
    """The request cannot be served as it stands."""

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
    """At worst the answer would cost more than the owner may still spend; nothing was bought."""

    status = 402
    code = "over_budget"
    message = "Your budget does not cover this."
    ending = "over_budget"


class BudgetHeld(OverBudget):
    """It would fit, if the answers that are being written should cost less than they may."""

    retryable = True


class Unpriced(OverBudget):
    """No price is known in the currency of the owner's budget, or not how much is bought: pictures."""

    code = "unpriced"
    message = "What this would cost is not known, so no budget can cover it. Please tell the operator of this site."


class CrossSite(RequestError):
    """A page of another site asked, and its origin is not in LLM_STREAM_ORIGINS."""

    status = 403
    code = "cross_site"
    message = "Requests from other sites are not allowed."


class Prefetch(CrossSite):
    """A browser that guesses what its user may ask next."""

    code = "prefetch"
    message = "An answer is not fetched ahead of being asked for."


class UsageClosed(RequestError):
    """Nothing says who may see what was spent, or it said no."""

    status = 403
    code = "usage_closed"
    message = "You may not see what was spent here."


class NoLedger(RequestError):
    """There is nothing to report from."""

    status = 404
    code = "no_ledger"
    message = "No usage is kept here: set LLM_STREAM_LEDGER_URL, for example to sqlite:////var/lib/app/usage.db"


class UnknownStream(RequestError):
    """No such stream, or not this owner's."""

    status = 404
    code = "unknown_stream"
    message = "There is no such stream."


class KeyConflict(RequestError):
    """The key was used before, for another request."""

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
    """The owner has LLM_STREAM_MAX_STREAMS_PER_OWNER answers running."""

    status = 429
    code = "too_many_streams"
    message = "Too many answers are being written for you at once. Wait for one to end."
    retryable = True


class Overloaded(RequestError):
    """The worker has LLM_STREAM_MAX_STREAMS answers running."""

    status = 503
    code = "overloaded"
    message = "The server is busy. Please try again in a moment."
    retryable = True


class SeveralProcesses(RequestError):
    """Several processes serve the app, and each would keep its streams to itself: LLM_STREAM_LOG_URL is memory://."""

    status = 503
    code = "several_processes"
    message = "The server is not set up to answer this. Please tell the operator of this site."


class LedgerUnavailable(RequestError):
    """The database of LLM_STREAM_LEDGER_URL cannot be written to: what cannot be recorded is not bought."""

    status = 503
    code = "ledger_unavailable"
    message = "The server cannot take this on at the moment. Please try again in a moment."
    retryable = True
