"""Makes a source from any iterable: the app's generator, LangChain, an agent, a stream of an SDK."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from itertools import chain
from typing import Any

import msgspec

from ..errors import StreamError
from ..events import KINDS
from ..events import WHOLE
from ..events import Delta
from ..events import Done
from ..events import Event
from ..events import Failure
from ..events import Start
from ..events import ToolCall
from ..events import Usage
from . import sdk
from .answers import Answers
from .completion import Stopped
from .ending import Ending
from .refusals import translate
from .source import NOTHING
from .source import Asked
from .source import Attempt
from .source import SourceOfEvents
from .text import whole

logger = logging.getLogger("llm_stream")


class IteratorSource:
    """Reads the iterable in the producer's thread.

    `interrupt()` wakes a blocked iterable only if it is a stream of the SDK, whose socket is known. Any other iterable
    is just not read any further. Calls that the iterable makes through `llm.events()` are parts of this source: see
    `begin_part()`.
    """

    base_url = None

    def __init__(
        self,
        iterable: Iterable[Any],
        model: str | None = None,
        scope: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`model` is the model that the iterable uses. All of the iterable runs inside `scope()`."""
        self._iterable = iterable
        self._scope = scope
        self._sent = sdk.sent(iterable)
        self._is_of_sdk = isinstance(self._sent, sdk.SentBySDK)
        self._own = self._attempt(None, model or self._sent.asked.model)
        self.asked = Asked(models=(self._own.model,)) if self._own.model else NOTHING
        self._answers = Answers(self._attempt_of_answer)
        self._parts: list[SourceOfEvents] = []
        self._part: SourceOfEvents | None = None
        self._ends_of_parts: list[Event] = []
        self._tool_calls = self._number_tool_calls_from = 0
        self._failure: Failure | None = None
        self._ending: Ending | None = None
        self._is_done = False
        self._stopped = False

    @property
    def attempts(self) -> Sequence[Attempt]:
        """The attempts of the parts, and the attempts of the completions in the chunks.

        If the iterable yields a `Usage`, the iterable's own attempt replaces the attempts of the chunks. If there are
        no other attempts, the iterable's own attempt is the only one.
        """
        of_parts = [attempt for part in self._parts for attempt in part.attempts]
        if self._own.figures is not None or not (of_parts or self._answers.attempts):
            return [*of_parts, self._own]
        return [*of_parts, *self._answers.attempts]

    @property
    def last_refusal(self) -> StreamError | None:
        return self._part.last_refusal if self._part else None

    @property
    def wrapping_up(self) -> bool:
        return self._part is not None and self._part.wrapping_up

    @property
    def is_busy(self) -> bool:
        return self._part is not None and self._part.is_busy

    def batches(self) -> Iterator[list[Event] | Ending]:
        """The events of each item, up to the first `Done` of the iterable, because it might never end after that.

        The iterable is closed and its scope exited before the `Ending`. Raises `Stopped`, the iterable's exceptions,
        and msgspec's exceptions for an event that cannot be serialized.
        """
        try:
            yield from self._read()
        except Exception as error:
            if self._stopped:
                raise Stopped() from error
            if not self._is_done:
                raise self._translate(error) from error
            logger.exception(
                "the iterable of a stream raised after its Done event; the stream's ending does not change"
            )
        if self._failure and not self._is_done:
            yield self._end_of("failed")
        else:
            yield self._ending or self._answers.end() or self._end_of("completed")

    def interrupt(self) -> None:
        """If the current part waits only for the end of its body, interrupt just that part. The iterable continues."""
        part = self._part
        if part is None or not part.wrapping_up:
            self._stopped = True
            self._sent.cut()
        if part is not None:
            part.interrupt()

    def _attempt(self, completion_id: str | None, model: str | None) -> Attempt:
        sent = self._sent
        return Attempt(model, sent.asked, sent.base_url, accepted=True, request_id=sent.request_id or completion_id)

    def _attempt_of_answer(self, completion_id: str | None) -> Attempt:
        self._ending = None  # the ending belonged to an earlier part
        self._number_tool_calls_from = self._tool_calls
        return self._attempt(completion_id, self._own.model)

    # Reading items…

    def _read(self) -> Iterator[list[Event]]:
        with self._scope():
            items = iter(self._iterable)
            try:
                for item in items:
                    if self._stopped:
                        raise Stopped()
                    if events := list(self._events_of(item)):
                        yield events
                    if self._is_done:
                        return
                self._own.is_whole = self._failure is None
            finally:
                discard(items)
                self._sent.close()

    def _events_of(self, item: Any) -> Iterator[Event]:
        is_end_of_part = any(item is event for event in self._ends_of_parts)
        if is_end_of_part or self._is_done or item is None:
            return
        if isinstance(item, str):
            if item:
                yield Delta(whole(item))
        elif isinstance(item, list):
            yield from chain.from_iterable(map(self._events_of, item))
        elif isinstance(item, Event):
            yield from self._event(item)
        else:
            yield from self.numbered(self._answers.events_of(item))

    def _event(self, event: Event) -> Iterator[Event]:
        """Pass an event on, except for terminal ones, which are kept for the `Ending`."""
        event = checked(event)
        if isinstance(event, Done):
            self._is_done = True
            self._own.is_whole = event.status in WHOLE
            self._ending = self._end_of(event.status, event.finish_reason)
        elif isinstance(event, Failure):
            self._failure = self._failure or event
        elif isinstance(event, Usage):
            self._own.figures = event
        elif not isinstance(event, Start):  # the stream makes its own
            yield event

    def _end_of(self, status: Any, finish_reason: str | None = None) -> Ending:
        return Ending(status, finish_reason, self._failure, self._own.figures)

    def _translate(self, error: Exception) -> Exception:
        """Translate the SDK's errors into ours; leave others unchanged."""
        if not sdk.is_of_sdk(error):
            return error
        if self._answers.attempts:
            return sdk.broken(error)
        if sdk.is_in_body(error):
            self._own.accepted = not self._is_of_sdk  # an error of the SDK before the first chunk is a refusal
            return sdk.broken(error)
        return translate(error)

    # Parts…

    def begin_part(self, part: SourceOfEvents) -> None:
        """The running iterable calls a model through `part`."""
        self._part = part
        self._parts.append(part)
        self._number_tool_calls_from = self._tool_calls
        if self._stopped:
            part.interrupt()

    def numbered(self, events: Iterable[Event]) -> Iterator[Event]:
        """Renumber tool calls: each answer counts from 0, but the stream continues its own count."""
        for event in events:
            if isinstance(event, ToolCall):
                index = self._number_tool_calls_from + event.index
                self._tool_calls = max(self._tool_calls, index + 1)
                event = msgspec.structs.replace(event, index=index)
            yield event

    def end_part(self, events: Sequence[Event] = (), ending: Ending | None = None) -> None:
        """The part has ended. `events` are its terminal events, which the iterable may yield.

        The last part's ending becomes the stream's ending, even if the iterable yields only the text: a failure must
        not be lost. An iterable that handles a failure itself yields its own `Done`.
        """
        self._part = None
        if ending is not None:
            self._ending = ending
            self._ends_of_parts += events


def checked(event: Event) -> Event:
    """The app's event, as readers will decode it. Raises msgspec's exceptions if it cannot be serialized."""
    return msgspec.json.decode(msgspec.json.encode(event), type=KINDS[event.type])


def check_iterable(source: Iterable[Any] | None) -> None:
    """Raises `TypeError` for two mistakes that would otherwise stream nonsense."""
    if isinstance(source, (str, bytes)):
        raise TypeError("a string would be streamed letter by letter: pass prompt=…, or [text]")
    if isinstance(source, Sequence) and any(isinstance(item, Mapping) and "role" in item for item in source):
        raise TypeError("pass messages as messages=…")


def discard(source: Iterable[Any] | None) -> None:
    """Close an unused generator or stream of the SDK."""
    if close := getattr(source, "close", None):
        close()
