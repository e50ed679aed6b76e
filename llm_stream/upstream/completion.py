"""The source of most streams: one answer of the upstream, with retries, fallback models and other upstreams."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from time import monotonic

from ..chat_request import ChatRequest
from ..errors import StreamError
from ..errors import UpstreamBusy
from ..errors import UpstreamCut
from ..errors import UpstreamError
from ..errors import UpstreamGarbled
from ..errors import UpstreamRefused
from ..errors import UpstreamRejected
from ..events import CONTENT
from ..events import Reset
from ..settings import Settings
from .call import Batch
from .ending import Ending
from .endpoint import Endpoint
from .hedge import Race
from .queue import FairQueue
from .queue import Ticket
from .refusals import translate
from .runner import Runner
from .source import Asked
from .source import Attempt
from .source import Waits
from .upstreams import Candidate
from .upstreams import Upstreams

FIRST_BACKOFF_S = 0.25
LONGEST_BACKOFF_S = 2.0
LONGEST_RETRY_AFTER_S = 4.0  # if the provider asks for more, the reader gets the error instead
BUSY_RETRY_AFTER_S = 5.0

NOT_TRANSIENT = (UpstreamBusy, UpstreamCut, UpstreamGarbled)


class Stopped(Exception):
    """The stream was stopped, so everything that the upstream sends or raises from now on is ignored."""


class Completion:
    """The events of one answer, with retries, fallback models and, if configured, one more attempt after content.

    The candidates are pairs of model and upstream, in the order in which they are tried.
    """

    is_busy = False

    def __init__(
        self, upstreams: Upstreams, request: ChatRequest, settings: Settings, owner: str, segment: int = 0
    ) -> None:
        """`segment` is the number of the log segment where the completion's events begin."""
        models = (request.model, *settings.fallback_models)
        self._request = request
        self._upstreams = upstreams
        self._settings = settings
        self._owner = owner
        self._candidates = upstreams.candidates(models)
        self._retries_left = settings.retries
        self._resets_left = 1 if settings.retry_after_content else 0
        self._deadline = monotonic() + settings.first_token_s
        self._stopped = threading.Event()
        self._running: Runner | Race | None = None
        self._ticket: Ticket | None = None
        self._has_content = False
        self._is_hedged = False
        self.last_refusal: StreamError | None = None
        self._segment = segment
        self.attempts: list[Attempt] = []
        self.asked = Asked(
            models=models,
            places=[candidate.place for candidate in self._candidates] if upstreams.are_several else (),
            messages=request.messages,
            tools=request.tools,
            options=request.options,
            max_output_tokens=request.max_output_tokens,
            most_attempts=1 + settings.retry_after_content + (settings.hedge_after_s is not None),
        )

    @property
    def base_url(self) -> str | None:
        return self._candidates[0].provider.client.base_url if self._candidates else None

    @property
    def wrapping_up(self) -> bool:
        return self._running is not None and self._running.is_whole

    def interrupt(self) -> None:
        """Close the upstream connection now, even if the thread in `batches()` is blocked."""
        self._stopped.set()
        if ticket := self._ticket:
            ticket.leave()
        if running := self._running:
            running.cut()

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
        candidate = self._choose()
        ticket = None
        try:
            endpoint = _endpoint_of(candidate)
            if candidate.provider.queue is not None:
                yield Waits()  # the queue may block
                ticket = self._take_turn(candidate.provider.queue)
            runner = self._runner(candidate, endpoint, ticket)
            self.attempts.append(runner.attempt)
            yield Waits()  # the budget may have to reserve more
            running = self._running = self._with_hedge(runner)
            if self._stopped.is_set():  # stopped while there was no call to cut
                raise Stopped()
            for batch in running.batches():
                if not self._has_content and isinstance(batch, list):
                    self._has_content = not CONTENT.isdisjoint(map(type, batch))
                yield batch
        finally:
            if ticket is not None:
                ticket.leave()
            candidate.provider.release()

    def _choose(self) -> Candidate:
        """The first candidate whose breaker lets a call through; if there is none, the first candidate."""
        if not self._candidates:
            raise UpstreamRefused() from LookupError(f"no upstream has the model {self._request.model!r}")
        for at, candidate in enumerate(self._candidates):
            if candidate.provider.admit():
                if at:
                    del self._candidates[:at]
                    self._retries_left = self._settings.retries
                break
        return self._candidates[0]

    def _take_turn(self, queue: FairQueue) -> Ticket:
        """Wait for a slot of the upstream. Raises `UpstreamBusy` at the deadline, and when the stream is stopped."""
        refusal, self.last_refusal = self.last_refusal, UpstreamBusy(retry_after=BUSY_RETRY_AFTER_S)
        ticket = self._ticket = queue.enter(self._owner)
        if self._stopped.is_set():  # stopped while there was no ticket
            ticket.leave()
        if ticket.wait(self._deadline - monotonic()):
            self.last_refusal = refusal
            return ticket
        ticket.leave()
        raise self.last_refusal

    def _runner(self, candidate: Candidate, endpoint: Endpoint, ticket: Ticket | None) -> Runner:
        attempt = Attempt(
            candidate.model,
            self.asked,
            endpoint.base_url,
            alias=candidate.alias,
            upstream=candidate.provider.name,
            segment=self._segment,
        )
        deadline = max(self._deadline, monotonic() + self._settings.first_token_s / 2)
        return Runner(candidate, endpoint, self._request, attempt, ticket, deadline)

    def _with_hedge(self, runner: Runner) -> Runner | Race:
        """Hedge the first accepted call of an answer at most, because the budget reserves only one hedge."""
        after_s = self._settings.hedge_after_s
        if after_s is None:
            return runner
        self._upstreams.hedges.count_call()
        if self._is_hedged or any(attempt.accepted for attempt in self.attempts[:-1]):
            return runner
        self._is_hedged = True
        return Race(runner, after_s, self._hedge, self.attempts)

    def _hedge(self) -> Runner | None:
        """A second call, at the next upstream with the model or at the same upstream; None if it cannot start now."""
        first = self._candidates[0]
        others = [other for other in self._candidates[1:] if other.name == first.name and not other.provider.is_open]
        candidate = others[0] if others else first
        endpoint = _endpoint_of(candidate)
        ticket = candidate.provider.queue.enter(self._owner) if candidate.provider.queue else None
        if (ticket is None or ticket.has_slot) and self._upstreams.hedges.take():
            return self._runner(candidate, endpoint, ticket)
        if ticket is not None:
            ticket.leave()
        return None

    def _prepare_next_attempt(self, problem: StreamError) -> Reset | None:
        """Wait until the next attempt may start. Raises `problem` if there is no next attempt."""
        self.last_refusal = problem
        if self._has_content:
            if not self._resets_left or not problem.retryable:
                raise problem
            self._resets_left -= 1
            self._segment += 1
            self._has_content = False
            self._deadline = monotonic() + self._settings.first_token_s
            return Reset(reason=problem.code)
        has_others = len(self._candidates) > 1
        is_down = has_others and self._candidates[0].provider.is_open
        wait = None if is_down else self._backoff(problem)
        if wait is None:
            if not has_others or isinstance(problem, (UpstreamRejected, UpstreamBusy)):
                raise problem
            self._candidates.pop(0)
            self._retries_left = self._settings.retries
        elif self._stopped.wait(wait):
            raise Stopped()
        return None

    def _backoff(self, problem: StreamError) -> float | None:
        """Seconds to wait before a retry of the same model; None if a retry is not allowed."""
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


def _endpoint_of(candidate: Candidate) -> Endpoint:
    try:
        return candidate.provider.client.endpoint(candidate.api)
    except Exception as error:  # a misconfiguration, whatever its type
        raise UpstreamRefused() from error


def _is_transient(problem: StreamError) -> bool:
    """Whether a retry may help: after a temporary refusal or a lost connection, not after a cut or garbled answer."""
    return isinstance(problem, UpstreamError) and problem.retryable and type(problem) not in NOT_TRANSIENT
