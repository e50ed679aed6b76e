"""LLMStreamError                        status  code
├── ConfigError                                            a wrong LLM_STREAM_* value; raised at registration only
├── RequestError                  400     invalid_request  the caller's fault; the message names the field
│   ├── InvalidField              422     invalid_field
│   ├── Unauthorized              401     unauthorized
│   ├── OverBudget                402     over_budget      it could cost more than what is left
│   │   ├── BudgetHeld            402     over_budget      what is left is held by answers being written
│   │   └── Unpriced              402     unpriced         nobody knows what it could cost
│   ├── CrossSite                 403     cross_site
│   │   └── Prefetch              403     prefetch
│   ├── UsageClosed               403     usage_closed     authorize_usage is missing, or let nobody in
│   ├── NoLedger                  404     no_ledger
│   ├── UnknownStream             404     unknown_stream   never existed, or is somebody else's
│   ├── KeyConflict               409     key_conflict
│   ├── ExpiredStream             410     expired_stream
│   ├── TooLarge                  413     too_large
│   ├── NotJSON                   415     not_json
│   ├── TooManyStreams            429     too_many_streams
│   ├── Overloaded                503     overloaded
│   └── LedgerUnavailable         503     ledger_unavailable
└── StreamError                   500     internal         ends a stream that has started
    ├── BudgetReached             402     over_budget      while the answer was being written
    ├── StreamTooLarge            502     stream_too_large
    ├── Interrupted               503     interrupted      the server is being restarted
    ├── TotalTimeout              504     total_timeout
    │   ├── FirstTokenTimeout     504     first_token_timeout
    │   └── IdleTimeout           504     idle_timeout
    └── UpstreamError             502     upstream_failed
        ├── UpstreamRejected      400     upstream_rejected
        │   └── ContextTooLong    400     context_too_long
        ├── UpstreamRefused       502     upstream_refused the operator's trouble: key, credit, model name
        ├── UpstreamThrottled     429     upstream_throttled
        ├── UpstreamUnreachable   502     upstream_unreachable
        ├── UpstreamCut           502     upstream_cut     ended without a finish_reason
        ├── UpstreamGarbled       502     upstream_garbled
        └── UpstreamTimeout       504     upstream_timeout

One error, two carriers: before the first byte a JSON body with `status`, afterwards a `failure` event.
Both are made of the same fields, and neither ever holds the provider's words: those go to the log.
"""

from __future__ import annotations

import secrets
from typing import ClassVar

from .events import Failure
from .events import Status


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
    """No price is known in the currency of the owner's budget."""

    code = "unpriced"
    message = "What this model costs is not known, so no budget can cover it. Please tell the operator of this site."


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


class LedgerUnavailable(RequestError):
    """The database of LLM_STREAM_LEDGER_URL cannot be written to: what cannot be recorded is not bought."""

    status = 503
    code = "ledger_unavailable"
    message = "The server cannot take this on at the moment. Please try again in a moment."
    retryable = True


class StreamError(LLMStreamError):
    """The source of a stream raised; the cause is in the log under `error_id`."""

    retryable = True


class BudgetReached(StreamError):
    """The answer outgrew what was reserved for it, and the owner's budget has no more."""

    status = 402
    code = "over_budget"
    message = "Your budget is used up, so the answer ends here."
    retryable = False
    ending = "over_budget"


class StreamTooLarge(StreamError):
    """The log reached LLM_STREAM_MAX_STREAM_BYTES."""

    status = 502
    code = "stream_too_large"
    message = "The answer grew too long and was stopped."
    retryable = False


class Interrupted(StreamError):
    """The worker stops before the answer is finished."""

    status = 503
    code = "interrupted"
    message = "The server was restarted while the answer was being written. Please try again."
    ending = "interrupted"


class TotalTimeout(StreamError):
    """LLM_STREAM_TOTAL_S has passed."""

    status = 504
    code = "total_timeout"
    message = "The model took too long to answer. Please try again."
    ending = "timed_out"


class FirstTokenTimeout(TotalTimeout):
    """LLM_STREAM_FIRST_TOKEN_S has passed without a word."""

    code = "first_token_timeout"


class IdleTimeout(TotalTimeout):
    """LLM_STREAM_IDLE_S has passed since the last word."""

    code = "idle_timeout"
    message = "The model stopped in the middle of its answer. Please try again."


class UpstreamError(StreamError):
    """The provider answered 5xx, or sent an error in the middle of the answer."""

    status = 502
    code = "upstream_failed"
    message = "The model's provider failed. Please try again."


class UpstreamRejected(UpstreamError):
    """The provider answered 400 or 422: this request, as it stands, will never work."""

    status = 400
    code = "upstream_rejected"
    message = "The model's provider did not accept this request."
    retryable = False


class ContextTooLong(UpstreamRejected):
    """The conversation does not fit the model."""

    code = "context_too_long"
    message = "The conversation is too long for this model."


class UpstreamRefused(UpstreamError):
    """401, 402, 403 or 404: key, credit, permission or model name. Nothing the reader can mend."""

    code = "upstream_refused"
    message = "The model is not available. Please tell the operator of this site."
    retryable = False


class UpstreamThrottled(UpstreamError):
    """The provider answered 429."""

    status = 429
    code = "upstream_throttled"
    message = "The model is busy. Please try again in a moment."


class UpstreamUnreachable(UpstreamError):
    """No connection, or it broke before the answer began."""

    code = "upstream_unreachable"
    message = "The model could not be reached. Please try again."


class UpstreamCut(UpstreamError):
    """The answer ended without a finish_reason."""

    code = "upstream_cut"
    message = "The answer broke off. Please try again."


class UpstreamGarbled(UpstreamError):
    """The provider sent something that is no chat completion stream."""

    code = "upstream_garbled"
    message = "The model's provider sent something unreadable. Please try again."


class UpstreamTimeout(UpstreamError):
    """The client's own timeout passed while the provider was silent."""

    status = 504
    code = "upstream_timeout"
    message = TotalTimeout.message
    ending = "timed_out"
