"""The app's hooks: what is called when a stream has ended."""

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
    """Those of one `LLMStream`, in the order of their registration."""

    on_usage: list[UsageHook] = field(default_factory=list)
    on_answer: list[AnswerHook] = field(default_factory=list)

    def call(self, record: UsageRecord, make_answer: Callable[[], Answer]) -> None:
        """Those of the usage, then those of the answer."""
        for usage_hook in self.on_usage:
            call(usage_hook, lambda: record, record.id)
        for answer_hook in self.on_answer:
            call(answer_hook, make_answer, record.id)


ArgumentT = TypeVar("ArgumentT")


def call(hook: Callable[[ArgumentT], object], argument: Callable[[], ArgumentT], stream_id: str) -> None:
    """Log what the hook raises, and what making its argument raises: the stream must end.

    Each hook gets an argument of its own, so none sees what another one changes.
    """
    try:
        hook(argument())
    except BaseException:  # also sys.exit() or a killed greenlet
        logger.exception("the hook %r failed for stream %s", hook, stream_id)
