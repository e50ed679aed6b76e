"""One call of a candidate, from the upstream's queue to the report to its breaker."""

from __future__ import annotations

from collections.abc import Generator
from collections.abc import Iterator
from time import monotonic

from ..chat_request import ChatRequest
from ..errors import StreamError
from ..errors import UpstreamError
from ..errors import UpstreamRefused
from ..errors import UpstreamRejected
from ..errors import UpstreamThrottled
from ..errors import UpstreamTimeout
from ..errors import UpstreamUnreachable
from ..events import CONTENT
from .breaker import Breaker
from .call import Batch
from .call import Call
from .ending import Ending
from .endpoint import Endpoint
from .queue import Ticket
from .refusals import translate
from .source import Attempt
from .source import Waits
from .upstreams import Candidate

LONGEST_PAUSE_S = 4.0
"""The maximum pause of a queue after a 429. If an upstream requests a longer pause, the queue is not paused, so that
other calls can fail over to another upstream."""


class Runner:
    """Makes one call, and reports its result to the upstream's breaker and queue."""

    def __init__(
        self,
        candidate: Candidate,
        endpoint: Endpoint,
        request: ChatRequest,
        attempt: Attempt,
        ticket: Ticket | None,
        deadline: float,
    ) -> None:
        """`deadline` is the time, by `monotonic()`, when a silent upstream counts as down."""
        self.attempt = attempt
        self._provider = candidate.provider
        self._call = Call(endpoint, request, attempt)
        self._ticket = ticket
        self._deadline = deadline

    @property
    def is_whole(self) -> bool:
        return self._call.is_whole

    def cut(self) -> None:
        self._call.lifeline.cut()

    def leave(self) -> None:
        """Give the slot up. The breaker may allow another trial."""
        if self._ticket is not None:
            self._ticket.leave()

    def batches(self) -> Generator[Batch | Waits | Ending, None, None]:
        """Raises `StreamError`."""
        breaker = self._provider.breaker
        return self._call.batches() if breaker is None else self._judged(self._call.batches(), breaker)

    def _judged(
        self, batches: Iterator[Batch | Waits | Ending], breaker: Breaker
    ) -> Generator[Batch | Waits | Ending, None, None]:
        has_spoken = is_known = False
        try:
            for batch in batches:
                if speaks(batch):
                    has_spoken = is_known = True
                    if breaker.has_failures:
                        yield Waits()  # the breaker may log
                        breaker.succeeded()
                    yield batch
                    break
                yield batch
            yield from batches
        except Exception as error:
            yield Waits()  # the breaker may log
            if not has_spoken:
                is_known = self._judge(translate(error), breaker)
            raise
        finally:
            if not is_known:
                breaker.released()
            self.leave()

    def _judge(self, problem: StreamError, breaker: Breaker) -> bool:
        """Report a call without content to the breaker. Returns whether the call showed if the upstream is down."""
        queue = self._provider.queue
        is_short = problem.retry_after is not None and problem.retry_after <= LONGEST_PAUSE_S
        if isinstance(problem, UpstreamThrottled) and queue is not None and is_short:
            queue.pause(problem.retry_after or 0)
        is_cut = self._call.lifeline.is_cut
        if monotonic() >= self._deadline if is_cut else is_down(problem):
            breaker.failed()
        elif not is_cut and isinstance(problem, (UpstreamRejected, UpstreamThrottled, UpstreamRefused)):
            breaker.succeeded()  # an upstream that refuses is up
        else:
            return False
        return True


def speaks(batch: Batch | Waits | Ending) -> bool:
    """Whether the answer has begun, or has ended without content."""
    return isinstance(batch, Ending) or (isinstance(batch, list) and not CONTENT.isdisjoint(map(type, batch)))


def is_down(problem: StreamError) -> bool:
    """Whether a call failed because the upstream is down: no connection, no answer in time, or 5xx."""
    return type(problem) in (UpstreamError, UpstreamTimeout, UpstreamUnreachable)
