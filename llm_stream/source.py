"""What a stream is filled from."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from .errors import StreamError
from .events import Usage


class Watchable(Protocol):
    """A connection that an event loop can watch. None of this waits."""

    def watch(self, callback: Callable[[], None]) -> bool:
        """Call `callback` whenever there may be something to read, until `unwatch()`; False if no loop is at hand."""

    def unwatch(self) -> None: ...

    def read_ahead(self) -> bool:
        """Have what there is ready for the source's next read; False if there is nothing yet.

        Raises `OSError`, and `EOFError` at the end: the source will find the same.
        """


class Waits:
    """What a source gives in the place of a batch when it is about to wait: for `connection`, or for anything."""

    __slots__ = ("connection",)

    def __init__(self, connection: Watchable | None = None) -> None:
        self.connection = connection


class SourceOfEvents(Protocol):
    """What a producer drains. One thread at a time runs `batches()`, `interrupt()` may come from another."""

    def batches(self) -> Iterable[Any]:
        """What came together, as a list; or `Waits`."""

    def interrupt(self) -> None: ...

    @property
    def messages(self) -> Sequence[Mapping[str, Any]] | None:
        """What was asked, where that is known."""

    @property
    def tools(self) -> Sequence[Mapping[str, Any]] | None: ...

    @property
    def options(self) -> Mapping[str, Any] | None:
        """What else is sent, in the upstream's own words."""

    @property
    def max_output_tokens(self) -> int | None:
        """The most that the attempts so far may have written."""

    @property
    def most_output_tokens(self) -> int | None:
        """The most that all attempts may come to write."""

    @property
    def most_attempts(self) -> int:
        """How often it may come to be bought."""

    @property
    def models(self) -> Sequence[str]:
        """Those that may come to be asked."""

    @property
    def asked_model(self) -> str | None:
        """The model that was asked last: another than the stream's, once a fallback has taken over."""

    @property
    def upstream_model(self) -> str | None:
        """The model that the provider says it used."""

    @property
    def request_id(self) -> str | None:
        """The provider's own name of the last call that it answered: its `x-generation-id`, or `x-request-id`."""

    @property
    def service_tier(self) -> str | None:
        """The class of service that the provider says it gave: `flex`, `priority`, …"""

    @property
    def base_url(self) -> str | None: ...

    @property
    def bought(self) -> bool:
        """Whether a provider has accepted a call, so that somebody will have to pay for it."""

    @property
    def usage(self) -> Usage | None:
        """The provider's figures so far."""

    @property
    def last_refusal(self) -> StreamError | None:
        """Why the last attempt failed, if there was one."""

    @property
    def wrapping_up(self) -> bool:
        """The answer is whole; what is still awaited are its figures, and the end of the body."""
