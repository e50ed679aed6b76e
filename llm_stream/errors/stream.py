"""Why a stream ends that has started."""

from __future__ import annotations

from .base import LLMStreamError


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
