"""Any iterable as a source: a generator of the app's, LangChain, an agent, a stream of an SDK."""

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
from ..source import NOTHING
from ..source import Asked
from ..source import Attempt
from ..source import SourceOfEvents
from . import sdk
from .chunks import ChunkDecoder
from .completion import Stopped
from .error_objects import is_error
from .refusals import translate
from .text import whole

logger = logging.getLogger("llm_stream")


class IteratorSource:
    """Reads the iterable in the producer's thread.

    It cannot be interrupted while it blocks, unless it is a stream of the SDK, whose socket is known; it is only not
    asked for more. Calls that the iterable makes through `llm.events()` are parts of this source, see `begin_part()`.
    """

    base_url = None

    def __init__(
        self,
        iterable: Iterable[Any],
        model: str | None = None,
        scope: Callable[[], AbstractContextManager[Any]] = nullcontext,
    ) -> None:
        """`model` is what the iterable stands for. The iterable runs, from its first step to its last, in `scope()`."""
        self._iterable = iterable
        self._scope = scope
        self._sent = sdk.sent(iterable)
        self._own = Attempt(model or self._sent.asked.model, self._sent.asked, self._sent.base_url, accepted=True)
        self.asked = Asked(models=(self._own.model,)) if self._own.model else NOTHING
        self._called: list[Attempt] = []
        self._parts: list[SourceOfEvents] = []
        self._part: SourceOfEvents | None = None
        self._ends_of_parts: list[Event] = []
        self._failure_of_part: Failure | None = None
        self._end: list[Event] = []
        self._is_done = False
        self._has_failed = False
        self._decoder: ChunkDecoder | None = None
        self._completion_id: Any = None
        self._ended_id: Any = None
        self._tool_calls = self._number_tool_calls_from = 0
        self._stopped = False

    @property
    def attempts(self) -> Sequence[Attempt]:
        """Those of its parts, and of its chunks. Figures of the iterable's own stand for all but its parts.

        Where there is none of this, one attempt stands for all that the iterable does.
        """
        of_parts = [attempt for part in self._parts for attempt in part.attempts]
        if self._own.figures is not None or not (of_parts or self._called):
            return [*of_parts, self._own]
        return [*of_parts, *self._called]

    @property
    def last_refusal(self) -> StreamError | None:
        return self._part.last_refusal if self._part else None

    @property
    def wrapping_up(self) -> bool:
        return self._part is not None and self._part.wrapping_up

    def batches(self) -> Iterator[list[Event]]:
        """The events of each item, until the first `Done` of the iterable's own: what follows that may never end.

        The iterable is closed, and its scope left, before the last batch. Raises `Stopped`, whatever the iterable
        raises, and what msgspec raises for an event that no wire could write.
        """
        try:
            yield from self._read()
        except Exception as error:
            if self._stopped:
                raise Stopped() from error
            if not self._is_done:
                raise self._told(error) from error
            logger.exception("the iterable of a stream failed after its end")
        self._end_completion()
        if self._end:
            yield self._end
        elif self._decoder is not None:
            yield self._decoder.end()

    def interrupt(self) -> None:
        """Of a part that only waits for the end of its body, the part alone: the iterable may go on without it."""
        part = self._part
        if part is None or not part.wrapping_up:
            self._stopped = True
            self._sent.cut()
        if part is not None:
            part.interrupt()

    # What it gives…

    def _read(self) -> Iterator[list[Event]]:
        with self._scope():
            items = iter(self._iterable)
            try:
                for item in items:
                    if self._stopped:
                        raise Stopped()
                    events = list(self._events_of(item))
                    if events and isinstance(events[-1], Done):
                        self._end, self._is_done = events, True
                        self._own.is_whole = events[-1].status in WHOLE
                        return
                    if events:
                        yield events
                self._own.is_whole = not self._has_failed
            finally:
                discard(items)
                self._sent.close()

    def _events_of(self, item: Any) -> Iterator[Event]:
        if any(item is end for end in self._ends_of_parts):
            self._keep_end_of_part(item)
        elif isinstance(item, str):
            if item:
                yield Delta(whole(item))
        elif isinstance(item, list):
            for event in chain.from_iterable(map(self._events_of, item)):
                yield event
                if isinstance(event, Done):
                    return
        elif isinstance(item, Event):
            yield from self._event(item)
        elif item is not None:
            yield from self._chunk(item)

    def _event(self, event: Event) -> Iterator[Event]:
        if isinstance(event, Start):  # the stream makes its own
            return
        sound = msgspec.json.decode(msgspec.json.encode(event), type=KINDS[event.type])
        if isinstance(sound, Usage):
            self._own.figures = sound
        elif isinstance(sound, Failure):
            self._has_failed = True
        yield sound

    def _chunk(self, item: Any) -> Iterator[Event]:
        """Of a chat completion. A new one begins after the end of the last: an agent makes several."""
        if hasattr(item, "model_dump"):
            item = item.model_dump(exclude_unset=True)
        if not isinstance(item, Mapping) or not ("choices" in item or "error" in item or is_error(item)):
            raise TypeError(f"a stream may give text, events or chat completion chunks, not {type(item).__name__}")
        decoder, name = self._decoder, item.get("id")
        if decoder is None or (self._ended_id and name and name != self._ended_id and item.get("choices")):
            decoder = self._decoder = self._next_completion(item)
        events = decoder.events(item)
        if decoder.finish_reason is not None and name == self._completion_id:
            self._ended_id = name  # some servers give each chunk an id of its own, which tells nothing
        assert decoder.attempt.written is not None
        decoder.attempt.written += events
        yield from self._numbered(events)

    def _next_completion(self, chunk: Mapping[str, Any]) -> ChunkDecoder:
        self._completion_id, self._ended_id = chunk.get("id"), None
        sent = self._sent
        name = sent.request_id or (self._completion_id if isinstance(self._completion_id, str) else None)
        attempt = Attempt(self._own.model, sent.asked, sent.base_url, accepted=True, request_id=name, written=[])
        self._called.append(attempt)
        self._end_completion()
        self._end = []
        self._number_tool_calls_from = self._tool_calls
        return ChunkDecoder(attempt)

    def _end_completion(self) -> None:
        """The figures of an answer that came to its end are final."""
        if self._decoder is not None and self._decoder.finish_reason is not None:
            self._decoder.attempt.is_whole = True

    def _numbered(self, events: Iterable[Event]) -> Iterator[Event]:
        """Each answer numbers its tool calls from 0; those of the stream are numbered on."""
        for event in events:
            if isinstance(event, ToolCall):
                index = self._number_tool_calls_from + event.index
                self._tool_calls = max(self._tool_calls, index + 1)
                event = msgspec.structs.replace(event, index=index)
            yield event

    def _told(self, error: Exception) -> Exception:
        """An error of the SDK's as one of our own; any other as it is."""
        if not sdk.is_of_sdk(error):
            return error
        return sdk.broken(error) if self._decoder is not None else translate(error)

    # Its parts…

    def begin_part(self, part: SourceOfEvents) -> None:
        """`part` makes a call of a model for this iterable, which is still running."""
        self._part = part
        self._parts.append(part)
        self._number_tool_calls_from = self._tool_calls
        if self._stopped:
            part.interrupt()

    def of_part(self, batch: Iterable[Event]) -> list[Event]:
        """The events of the part that was begun last, as events of this source."""
        return list(self._numbered(batch))

    def expect(self, end: Sequence[Event]) -> None:
        """`end` is how the part has ended. The iterable may give these events again, and go on after them."""
        self._ends_of_parts += end

    def end_part(self) -> None:
        self._part = None

    def _keep_end_of_part(self, event: Event) -> None:
        """The last end that the iterable gives is the stream's. Figures are left out: they are in the attempts."""
        if isinstance(event, Failure):
            self._failure_of_part = event
            self._end = [event]
        elif isinstance(event, Done):
            self._end = [event] if self._failure_of_part is None else [self._failure_of_part, event]
            self._failure_of_part = None
            self._decoder = None


def check_iterable(source: Iterable[Any] | None) -> None:
    """Two mistakes that would stream without complaint. Raises `TypeError`."""
    if isinstance(source, (str, bytes)):
        raise TypeError("a string would be streamed letter by letter: pass prompt=…, or [text]")
    if isinstance(source, Sequence) and any(isinstance(item, Mapping) and "role" in item for item in source):
        raise TypeError("pass messages as messages=…")


def discard(source: Iterable[Any] | None) -> None:
    """Close a generator that is not to be read any more, or a stream of the SDK."""
    if close := getattr(source, "close", None):
        close()
