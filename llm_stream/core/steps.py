"""The source of an answer with tools: it calls the model, runs its tools, and calls it again with their results."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from collections.abc import Generator
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import count
from typing import Any

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Decision
from ..chat_request import Message
from ..chat_request import expanded
from ..errors import StreamError
from ..events import Approval
from ..events import Event
from ..events import Reset
from ..events import Step
from ..events import ToolCall
from ..events import ToolResult
from ..upstream.completion import Completion
from ..upstream.completion import Stopped
from ..upstream.ending import Ending
from ..upstream.source import Asked
from ..upstream.source import Attempt
from ..upstream.source import SourceOfEvents
from ..upstream.source import Waits
from ..wire.answer import tool_calls_of
from ..wire.answer import valid_part_of
from ..wire.turn import message_of
from .tools.approvals import NOT_APPROVED
from .tools.approvals import Call
from .tools.approvals import with_outcomes
from .tools.run import Run
from .tools.run import Scope
from .tools.toolbox import Toolbox
from .tools.toolbox import names_of

Batch = list[Event] | Waits | Ending

Complete = Callable[[ChatRequest, int], Completion]

MAX_STEPS = "max_steps"
"""The finish reason of an answer that the limit on steps has cut off."""


class Steps:
    """Like a `Completion`, but calls the model as often as the tools need, up to `LLM_STREAM_MAX_STEPS` times.

    The answer ends at calls of tools that the reader runs, and at calls that wait for approval: the reader's next
    request brings their outcome. Tools that run on the server are called first.
    """

    def __init__(
        self,
        request: ChatRequest,
        complete: Complete,
        toolbox: Toolbox,
        *,
        decided: Sequence[tuple[Call, Decision]],
        ask: Callable[[Call], str],
        scope: Scope,
        tool_s: float,
        max_steps: int,
    ) -> None:
        """`request` offers the server's tools and the reader's. `complete` makes the source of one step, from the
        step's request and the log segment in which the step begins.

        `decided` are the reader's decisions about calls in the last messages. `ask` makes the id of an `Approval`.
        Tools run inside `scope()`, with a default deadline of `tool_s` seconds.
        """
        self._readers_tools = names_of(request.tools or ()) - {tool.name for tool in toolbox}
        self._request = request
        self._complete = complete
        self._toolbox = toolbox
        self._decided = decided
        self._ask = ask
        self._scope = scope
        self._tool_s = tool_s
        self._max_steps = max_steps
        self._segment = 0
        self._first_index = 0
        self._call_ids = {call.get("id") for message in request.messages for call in message.get("tool_calls") or ()}
        self._stopped = False
        self._run: Run | None = None
        self._completion = complete(request, 0)
        self._sources: list[SourceOfEvents] = [self._completion]
        self._parts: dict[int, SourceOfEvents] = {}
        self._part_lock = threading.Lock()

    # The interface of a source

    @property
    def asked(self) -> Asked:
        """The request of the current step."""
        return self._completion.asked

    @property
    def attempts(self) -> Sequence[Attempt]:
        return [attempt for source in self._sources for attempt in source.attempts]

    @property
    def base_url(self) -> str | None:
        return self._completion.base_url

    @property
    def last_refusal(self) -> StreamError | None:
        return self._completion.last_refusal

    @property
    def wrapping_up(self) -> bool:
        return self._run is None and self._completion.wrapping_up

    @property
    def is_busy(self) -> bool:
        """Whether tools are running. Tools have their own deadlines."""
        return self._run is not None

    def interrupt(self) -> None:
        """If the current step waits only for the end of its response, cut off just that: another step may follow."""
        if not self.wrapping_up:
            self._stopped = True
        self._completion.interrupt()
        if run := self._run:
            run.interrupt()
        for part in list(self._parts.values()):
            part.interrupt()

    def batches(self) -> Iterator[Batch]:
        """Raises `StreamError` and `Stopped`."""
        if self._decided:
            yield from self._resolve()
        for number in count(1):
            events: list[Event] = []
            ending = yield from self._step(events)
            if ending is None:
                return
            calls = [_call(call) for call in tool_calls_of(events)[0]]
            if number == self._max_steps:
                yield Ending("incomplete", MAX_STEPS, usage=ending.usage)
                return
            if waiting := (yield from self._call_tools(calls, events)):
                yield waiting
                yield ending
                return
            if any(call.name in self._readers_tools for call in calls):
                yield ending
                return
            yield [Step(number + 1)]
            self._segment += 1
            self._begin_step(list(expanded(_message(events))))

    # One call of the model

    def _step(self, events: list[Event]) -> Generator[Batch, None, Ending | None]:
        """Pass on the step's events, and add them to `events`.

        Returns the ending, instead of passing it on, if tools of the server must run first.
        """
        held = None
        for batch in self._completion.batches():
            if isinstance(batch, list):
                batch = [self._marked(event) for event in batch]
                events += batch
                if resets := sum(isinstance(event, Reset) for event in batch):
                    self._segment += resets
                    events[:] = valid_part_of(events)
            elif isinstance(batch, Ending) and batch.status == "completed" and self._has_own_calls(events):
                held = batch
                continue
            yield batch
        return held

    def _marked(self, event: Event) -> Event:
        """Renumber a tool call, because each step counts from 0. Mark whether its tool runs on the server.

        Replace an id that the conversation already has: some upstreams count ids from 0, too, and clients tell calls
        apart by their ids.
        """
        if not isinstance(event, ToolCall):
            return event
        server = bool(event.name) and event.name not in self._readers_tools
        id = f"call_{secrets.token_hex(12)}" if event.id in self._call_ids and event.id else event.id
        self._call_ids.add(id)
        return msgspec.structs.replace(event, index=event.index + self._first_index, id=id, server=server)

    def _has_own_calls(self, events: Sequence[Event]) -> bool:
        return any(isinstance(event, ToolCall) and event.server for event in events)

    def _begin_step(self, messages: Sequence[Message]) -> None:
        options = {name: value for name, value in self._request.options.items() if name != "tool_choice"}
        self._request = msgspec.structs.replace(
            self._request, messages=[*self._request.messages, *messages], options=options
        )
        self._completion = self._complete(self._request, self._segment)
        self._sources.append(self._completion)
        if self._stopped:
            raise Stopped()

    # The tools

    def _call_tools(self, calls: Sequence[Call], events: list[Event]) -> Generator[Batch, None, list[Event]]:
        """Run the server's tools, and add their events to `events`. Return the approvals to ask the reader for."""
        self._first_index += len(calls)
        own = [(call, self._toolbox.get(call.name)) for call in calls if call.name not in self._readers_tools]
        yield Waits()  # tools block
        for batch in self._running([(call, tool) for call, tool in own if not (tool and tool.needs_approval)]):
            events += batch
            yield batch
        waiting = [call for call, tool in own if tool and tool.needs_approval]
        return [Approval(self._ask(call), call.id, call.name) for call in waiting]

    def _running(self, calls: Sequence[tuple[Call, Any]]) -> Iterator[list[Event]]:
        run = self._run = Run(calls, self._scope, self._tool_s, self._interrupt_part)
        try:
            if self._stopped:
                raise Stopped()
            yield from run.events()
        finally:
            self._run = None

    def _resolve(self) -> Iterator[Batch]:
        """Run the calls that the reader has approved, and append the outcome of each decision to the messages."""
        yield Waits()
        outcomes: list[Event] = []
        approved = [(call, self._toolbox.get(call.name)) for call, decision in self._decided if decision.approved]
        for batch in self._running(approved):
            outcomes += batch
            yield batch
        denied: list[Event] = [
            ToolResult(call.id, call.name, error=decision.reason or NOT_APPROVED)
            for call, decision in self._decided
            if not decision.approved
        ]
        if denied:
            yield denied
        messages = with_outcomes(self._request.messages, [*outcomes, *denied])
        self._request = msgspec.structs.replace(self._request, messages=messages)
        self._completion = self._complete(self._request, 0)
        self._sources[:] = [*self._sources[1:], self._completion]

    # Parts: calls of a model that tools make through `llm.events()`

    def begin_part(self, part: SourceOfEvents) -> None:
        """Called in a tool's thread. Blocks while another part runs, because parts share the stream's budget."""
        self._part_lock.acquire()
        self._sources.append(part)
        self._parts[threading.get_ident()] = part
        if self._stopped:
            part.interrupt()

    def end_part(self, events: Sequence[Event] = (), ending: Ending | None = None) -> None:
        if self._parts.pop(threading.get_ident(), None):
            self._part_lock.release()

    def numbered(self, events: Iterable[Event]) -> Iterable[Event]:
        """Returns `events` unchanged: a tool cannot yield tool calls."""
        return events

    def _interrupt_part(self, thread: int) -> None:
        if part := self._parts.get(thread):
            part.interrupt()


def _call(call: Mapping[str, Any]) -> Call:
    return Call(call["id"], call["name"], call["arguments"])


def _message(events: Sequence[Event]) -> Mapping[str, Any]:
    message = message_of(events)
    assert message is not None  # there are calls
    return message
