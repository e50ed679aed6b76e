"""Errors that end a running stream."""

from __future__ import annotations

from .base import LLMStreamError


class StreamError(LLMStreamError):
    """The stream's source raised an exception, which is in the server's log under `error_id`."""

    retryable = True


class BudgetReached(StreamError):
    """The answer exceeded its reservation, and nothing is left in the owner's budget."""

    status = 402
    code = "over_budget"
    message = "Your budget is used up, so the answer was stopped. Ask again when it is renewed."
    retryable = False
    ending = "over_budget"


class StreamTooLarge(StreamError):
    """The log reached LLM_STREAM_MAX_STREAM_BYTES."""

    status = 502
    code = "stream_too_large"
    message = "The answer was too long and was stopped. Please ask for a shorter one."
    retryable = False


class InvalidOutput(StreamError):
    """The whole answer does not match the requested schema."""

    status = 502
    code = "invalid_output"
    message = "The model's answer does not match the requested schema. Please try again."


class Interrupted(StreamError):
    """The worker stopped before the answer was finished."""

    status = 503
    code = "interrupted"
    message = "The server was restarted while the answer was being written. Please try again."
    ending = "interrupted"


class WorkerLost(Interrupted):
    """The process that wrote the stream died, or did not run for longer than its lease."""

    code = "worker_lost"
    message = "The server failed while the answer was being written. Please try again."


class TotalTimeout(StreamError):
    """LLM_STREAM_TOTAL_S has passed."""

    status = 504
    code = "total_timeout"
    message = "The model took too long to answer. Please try again."
    ending = "timed_out"


class FirstTokenTimeout(TotalTimeout):
    """LLM_STREAM_FIRST_TOKEN_S has passed without content."""

    code = "first_token_timeout"


class IdleTimeout(TotalTimeout):
    """LLM_STREAM_IDLE_S has passed since the last content."""

    code = "idle_timeout"
    message = "The model stopped in the middle of its answer. Please try again."


class UpstreamError(StreamError):
    """The provider answered 5xx, or sent an error during the answer."""

    status = 502
    code = "upstream_failed"
    message = "The model's provider failed. Please try again."


class UpstreamRejected(UpstreamError):
    """The provider answered 400 or 422: a retry of the same request cannot succeed."""

    status = 400
    code = "upstream_rejected"
    message = "The model's provider rejected this request. Please change it before you try again."
    retryable = False


class ContextTooLong(UpstreamRejected):
    """The conversation exceeds the model's context window."""

    code = "context_too_long"
    message = "The conversation is too long for this model. Please shorten it or start a new one."


class UpstreamRefused(UpstreamError):
    """The provider answered 401, 402, 403 or 404: the operator must fix the key, credit, permission or model name."""

    code = "upstream_refused"
    message = "The model is not available. Please tell the operator of this site."
    retryable = False


class UpstreamThrottled(UpstreamError):
    """The provider answered 429."""

    status = 429
    code = "upstream_throttled"
    message = "The model is busy. Please try again in a moment."


class UpstreamBusy(UpstreamError):
    """The call was still in the upstream's queue when LLM_STREAM_FIRST_TOKEN_S had passed. It was never sent."""

    status = 503
    code = "upstream_busy"
    message = UpstreamThrottled.message
    ending = "timed_out"


class UpstreamUnreachable(UpstreamError):
    """The connection failed, or broke before the answer began."""

    code = "upstream_unreachable"
    message = "The model could not be reached. Please try again."


class UpstreamCut(UpstreamError):
    """The answer ended without a finish_reason."""

    code = "upstream_cut"
    message = "The answer broke off. Please try again."


class UpstreamGarbled(UpstreamError):
    """The provider's response cannot be decoded as an answer."""

    code = "upstream_garbled"
    message = "The model's provider sent an unreadable response. Please try again."


class UpstreamTimeout(UpstreamError):
    """The HTTP client's timeout passed without data from the provider."""

    status = 504
    code = "upstream_timeout"
    message = TotalTimeout.message
    ending = "timed_out"
