"""Any iterable as a source: a generator of one's own, LangChain, an agent, another SDK."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..errors import StreamError
from ..events import KINDS
from ..events import Done
from ..events import Event
from ..events import Start
from ..events import Usage
from .completion import Stopped
from .text import whole


class IteratorSource:
    """Reads the iterable in the producer's thread. It cannot be interrupted, only not asked for more."""

    messages = None
    tools = None
    options = None
    max_output_tokens = None
    most_output_tokens = None
    most_attempts = 1
    upstream_model = None
    request_id = None
    service_tier = None
    base_url = None
    bought = True
    last_refusal: StreamError | None = None
    wrapping_up = False

    def __init__(self, iterable: Iterable[Any], model: str | None = None) -> None:
        """`model` is what it stands for; without it, its own name."""
        self.asked_model: str = model or str(getattr(iterable, "__name__", type(iterable).__name__))
        self.usage: Usage | None = None
        self.models = [self.asked_model]
        self._iterable = iterable
        self._stopped = False

    def batches(self) -> Iterator[Any]:
        """What the iterable gives, until its first `Done`: what follows that may never end.

        Raises `Stopped`, whatever the iterable raises, and what msgspec raises for an event that no wire could write.
        """
        items = iter(self._iterable)
        try:
            for item in items:
                if self._stopped:
                    raise Stopped()
                sound = _checked(item)
                if isinstance(sound, Usage):
                    self.usage = sound
                yield sound
                if isinstance(sound, Done):
                    return
        finally:
            if close := getattr(items, "close", None):
                close()

    def interrupt(self) -> None:
        self._stopped = True


def check_iterable(source: Iterable[Any] | None) -> None:
    """Two mistakes that would stream without complaint. Raises `TypeError`."""
    if isinstance(source, (str, bytes)):
        raise TypeError("a string would be streamed letter by letter: pass prompt=…, or [text]")
    if isinstance(source, Sequence) and any(isinstance(item, Mapping) and "role" in item for item in source):
        raise TypeError("pass messages as messages=…")


def discard(source: Iterable[Any] | None) -> None:
    """Close a generator that will not be begun after all."""
    if close := getattr(source, "close", None):
        close()


def _checked(item: Any) -> Any:
    """The item, if its text can be sent and its fields are of their types."""
    if isinstance(item, str):
        return whole(item)
    if isinstance(item, list):
        return [_checked(each) for each in item]
    if isinstance(item, Start):  # whoever numbers the events makes it
        return None
    if isinstance(item, Event):
        return msgspec.json.decode(msgspec.json.encode(item), type=KINDS[item.type])
    return item
