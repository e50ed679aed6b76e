"""The inbox of this worker: messages from other workers, such as questions and pushed events."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from ...errors import LogUnavailable
from . import messages
from .deletion import delete
from .entries import events_of
from .messages import Ask
from .messages import Delete
from .messages import Follow
from .messages import Leave
from .messages import Message
from .messages import Push
from .messages import Reply
from .messages import Stop
from .messages import Unknown
from .mirror import Mirror
from .mirror import Mirrors
from .questions import Questions
from .reaper import Reaper
from .roster import NO_MESSAGE
from .roster import Roster
from .shipper import Shipper

if TYPE_CHECKING:
    from redis.client import Pipeline

logger = logging.getLogger("llm_stream")


class Inbox:
    """Sends messages, and delivers received ones in the thread that calls `receive()`."""

    def __init__(self, worker: str, roster: Roster, shipper: Shipper, mirrors: Mirrors, reaper: Reaper) -> None:
        self._worker = worker
        self._roster = roster
        self._shipper = shipper
        self._mirrors = mirrors
        self._reaper = reaper
        self._questions = Questions()
        self.is_open = False
        """Whether this worker has an inbox in the store, so that it can get replies."""
        self.read = "0-0"
        """The id of the last message that was delivered."""

    def receive(self) -> None:
        """Deliver the messages that have arrived. Waits up to a second for the first. Raises `LogUnavailable`."""
        for message_id, message in self._roster.receive(self._worker, self.read):
            self.read = message_id
            if message == NO_MESSAGE:
                continue
            try:
                self._deliver(messages.decode(message))
            except msgspec.MsgspecError as error:
                logger.error("cannot read another worker's message: do all workers run the same version? %s", error)
            except LogUnavailable as error:
                logger.debug("cannot answer a message while the log is unavailable: %s", error)

    def _deliver(self, message: Message) -> None:
        deliver: Callable[[], None] = {
            Follow: self._follow,
            Leave: self._leave,
            Stop: self._stop,
            Delete: self._delete,
            Ask: self._ask,
            Reply: self._answer,
            Unknown: self._unknown,
            Push: self._push,
        }[type(message)]  # type: ignore[assignment]
        deliver(message)  # type: ignore[call-arg]

    def send(self, worker: str, message: Message) -> None:
        """Raises `LogUnavailable`."""
        self._send([(worker, messages.encode(message))])

    def _send(self, messages: Iterable[tuple[str, bytes]]) -> None:
        """Create this worker's inbox first, if necessary: the reply may arrive before the first beat."""

        def open_first(pipe: Pipeline) -> None:
            if not self.is_open:
                self._roster.renew_inbox(pipe, self._worker, self.read)

        self._roster.send(messages, open_first)
        self.is_open = True

    def send_follow(self, mirrors: list[Mirror]) -> None:
        """Raises `LogUnavailable`."""
        self._send(self.follow(mirrors))

    def follow(self, mirrors: list[Mirror]) -> list[tuple[str, bytes]]:
        """The messages that say which streams this worker follows: one to each worker that writes some of them."""
        streams: dict[str, dict[str, tuple[int, int]]] = defaultdict(dict)
        for mirror in mirrors:
            streams[mirror.header.worker][mirror.id] = (mirror.log.last, len(mirror.readers))
        return [(worker, messages.encode(Follow(self._worker, followed))) for worker, followed in streams.items()]

    def ask(self, kind: type[Ask] | type[Stop] | type[Delete], mirror: Mirror) -> tuple[bool, int | None]:
        """Ask the worker that writes the stream. Return whether it answered, and the number of the last event.

        Raises `LogUnavailable`.
        """
        worker, stream_id = mirror.header.worker, mirror.id
        return self._questions.ask(lambda question: self.send(worker, kind(self._worker, question, stream_id)))

    # To the worker that writes

    def _follow(self, message: Follow) -> None:
        follow, worker = self._shipper.follow, message.worker
        unknown = [id for id, (after, readers) in message.streams.items() if not follow(worker, id, after, readers)]
        if unknown:
            self.send(worker, Unknown(unknown, ended=[id for id in unknown if self._shipper.has_ended(id)]))

    def _leave(self, message: Leave) -> None:
        for stream_id in message.streams:
            self._shipper.leave(message.worker, stream_id)

    def _stop(self, message: Stop) -> None:
        if copy := self._shipper.get(message.stream):
            copy.stream.stop("cancelled")
        self._reply(message)

    def _delete(self, message: Delete) -> None:
        last = self._shipper.last(message.stream)
        delete(message.stream, self._shipper)
        self.send(message.worker, Reply(message.question, last))

    def _ask(self, message: Ask) -> None:
        self._reply(message)

    def _reply(self, message: Stop | Ask) -> None:
        self.send(message.worker, Reply(message.question, self._shipper.last(message.stream)))

    # To the worker that follows

    def _answer(self, message: Reply) -> None:
        self._questions.answer(message.question, message.last)

    def _unknown(self, message: Unknown) -> None:
        for stream_id in message.streams:
            if mirror := self._mirrors.get(stream_id):
                self._reaper.refresh(mirror, has_ended=stream_id in message.ended)

    def _push(self, message: Push) -> None:
        missing = []
        for stream_id, (first, pieces) in message.streams.items():
            if mirror := self._mirrors.get(stream_id):
                if mirror.add(first, events_of(pieces)):
                    mirror.has_caught_up()
                else:
                    missing.append(mirror)
        if missing:
            self.send_follow(missing)
