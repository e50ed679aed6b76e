"""The app's hooks, which are called when a stream has ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import TypeVar

from ..usage.record import UsageRecord
from .answer import Answer

logger = logging.getLogger("llm_stream")

UsageHook = Callable[[UsageRecord], object]
AnswerHook = Callable[[Answer], object]


@dataclass
class Hooks:
    """The hooks of one `LLMStream`, in the order of their registration."""

    on_usage: list[UsageHook] = field(default_factory=list)
    on_answer: list[AnswerHook] = field(default_factory=list)

    def call(self, record: UsageRecord, make_answer: Callable[[], Answer]) -> None:
        """Call the functions of `on_usage`, then those of `on_answer`."""
        for usage_hook in self.on_usage:
            call(usage_hook, lambda: record, record.id)
        for answer_hook in self.on_answer:
            call(answer_hook, make_answer, record.id)


ArgumentT = TypeVar("ArgumentT")


def call(hook: Callable[[ArgumentT], object], argument: Callable[[], ArgumentT], stream_id: str) -> None:
    """Call the hook. Log its exceptions and those of `argument()` instead of raising them: the stream must end.

    `argument()` is called for each hook, so one hook may change its `Answer` without affecting the next.
    """
    try:
        hook(argument())
    except BaseException:  # also sys.exit() or a killed greenlet
        logger.exception("the hook %r failed for stream %s", hook, stream_id)
