"""The source of most streams: one answer of a model, with retries and fallback models."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from collections.abc import Iterator
from time import monotonic

from ..chat_request import ChatRequest
from ..errors import StreamError
from ..errors import UpstreamCut
from ..errors import UpstreamError
from ..errors import UpstreamGarbled
from ..errors import UpstreamRefused
from ..errors import UpstreamRejected
from ..events import CONTENT
from ..events import Reset
from ..settings import Settings
from .call import Batch
from .call import Call
from .ending import Ending
from .endpoint import Endpoint
from .refusals import translate
from .source import Asked
from .source import Attempt
from .source import Waits

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 2.0
LONGEST_RETRY_AFTER_S = 4.0  # if the provider asks for more, the reader gets the error instead


class Stopped(Exception):
    """The stream was stopped, so whatever the upstream sends or raises from here on is ignored."""


class Completion:
    """The events of one answer, with retries, fallback models and, if configured, one more attempt after content."""

    is_busy = False

    def __init__(
        self, get_endpoint: Callable[[str], Endpoint], request: ChatRequest, settings: Settings, segment: int = 0
    ) -> None:
        """`get_endpoint` takes a model. `segment` is the one of the log in which its events begin."""
        self._request = request
        self._get_endpoint = get_endpoint
        self._settings = settings
        self._models = [request.model, *settings.fallback_models]
        self._retries_left = settings.retries
        self._resets_left = 1 if settings.retry_after_content else 0
        self._deadline = monotonic() + settings.first_token_s
        self._stopped = threading.Event()
        self._call: Call | None = None
        self._has_content = False
        self.last_refusal: StreamError | None = None
        self._segment = segment
        self.attempts: list[Attempt] = []
        self.asked = Asked(
            models=(request.model, *settings.fallback_models),
            messages=request.messages,
            tools=request.tools,
            options=request.options,
            max_output_tokens=request.max_output_tokens,
            most_attempts=2 if settings.retry_after_content else 1,
        )

    @property
    def base_url(self) -> str | None:
        try:
            return self._get_endpoint(self._models[0]).base_url
        except Exception:  # the call will raise it
            return None

    @property
    def wrapping_up(self) -> bool:
        return self._call is not None and self._call.is_whole

    def interrupt(self) -> None:
        """Close the upstream connection now, whatever the thread in `batches()` is blocked on."""
        self._stopped.set()
        if call := self._call:
            call.lifeline.cut()

    def batches(self) -> Iterator[Batch | Waits | Ending]:
        """Raises `StreamError` or `Stopped`."""
        while True:
            try:
                yield from self._attempt()
                return
            except Exception as error:
                yield Waits()  # logging and the backoff may block
                if self._stopped.is_set():
                    raise Stopped() from error
                problem = translate(error)
                if problem is not error:
                    problem.__cause__ = error
                reset = self._prepare_next_attempt(problem)
            if reset:
                yield [reset]

    def _attempt(self) -> Iterator[Batch | Waits | Ending]:
        try:
            endpoint = self._get_endpoint(self._models[0])
        except Exception as error:  # a misconfiguration, whatever its type
            raise UpstreamRefused() from error
        attempt = Attempt(self._models[0], self.asked, endpoint.base_url, segment=self._segment)
        self.attempts.append(attempt)
        yield Waits()  # the budget may have to reserve more
        call = self._call = Call(endpoint, self._request, attempt)
        if self._stopped.is_set():  # stopped while there was no call to cut
            raise Stopped()
        for batch in call.batches():
            if not self._has_content and isinstance(batch, list):
                self._has_content = not CONTENT.isdisjoint(map(type, batch))
            yield batch

    def _prepare_next_attempt(self, problem: StreamError) -> Reset | None:
        """Return when the next attempt may start. Raises `problem` if there is none."""
        self.last_refusal = problem
        if self._has_content:
            if not self._resets_left or not problem.retryable:
                raise problem
            self._resets_left -= 1
            self._segment += 1
            self._has_content = False
            self._deadline = monotonic() + self._settings.first_token_s
            return Reset(reason=problem.code)
        wait = self._backoff(problem)
        if wait is None:
            if len(self._models) == 1 or isinstance(problem, UpstreamRejected):
                raise problem
            self._models.pop(0)
            self._retries_left = self._settings.retries
        elif self._stopped.wait(wait):
            raise Stopped()
        return None

    def _backoff(self, problem: StreamError) -> float | None:
        """Seconds to wait before the same model is retried; None if it must not be."""
        if not _is_transient(problem) or not self._retries_left:
            return None
        tried = self._settings.retries - self._retries_left
        wait: float = min(FIRST_BACKOFF_S * 2.0**tried, LONGEST_BACKOFF_S) * (1.0 - random.random() / 4)
        if problem.retry_after is not None:
            if problem.retry_after > LONGEST_RETRY_AFTER_S:
                return None
            wait = max(wait, problem.retry_after)
        if monotonic() + wait >= self._deadline:
            return None
        self._retries_left -= 1
        return wait


def _is_transient(problem: StreamError) -> bool:
    """Whether a retry may help: after a temporary refusal or a lost connection, not after a cut or garbled answer."""
    return (
        isinstance(problem, UpstreamError) and problem.retryable and type(problem) not in (UpstreamCut, UpstreamGarbled)
    )
