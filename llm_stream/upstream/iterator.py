"""Any iterable as a source: a generator of one's own, LangChain, an agent, another SDK."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from ..errors import StreamError
from ..events import Start
from ..events import Usage
from .completion import Stopped


class IteratorSource:
    """Reads the iterable in the producer's thread. It cannot be interrupted, only not asked for more."""

    messages = None
    max_output_tokens = None
    upstream_model = None
    base_url = None
    bought = True
    last_refusal: StreamError | None = None
    wrapping_up = False

    def __init__(self, iterable: Iterable[Any]) -> None:
        self.asked_model: str = getattr(iterable, "__name__", type(iterable).__name__)
        self.usage: Usage | None = None
        self._iterable = iterable
        self._stopped = False

    def batches(self) -> Iterator[Any]:
        items = iter(self._iterable)
        try:
            for item in items:
                if self._stopped:
                    raise Stopped()
                if isinstance(item, Usage):
                    self.usage = item
                if not isinstance(item, Start):  # the stream has one of its own
                    yield item
        finally:
            if close := getattr(items, "close", None):
                close()

    def interrupt(self) -> None:
        self._stopped = True
