"""What a stream is filled from."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from .errors import StreamError
from .events import Usage


class SourceOfEvents(Protocol):
    """What a producer drains. `batches()` is run by one thread, `interrupt()` may come from another."""

    def batches(self) -> Iterable[Any]: ...

    def interrupt(self) -> None: ...

    @property
    def messages(self) -> Sequence[Mapping[str, Any]] | None:
        """What was asked, where that is known."""

    @property
    def max_output_tokens(self) -> int | None: ...

    @property
    def asked_model(self) -> str | None:
        """The model that was asked last: another than the stream's, once a fallback has taken over."""

    @property
    def upstream_model(self) -> str | None:
        """The model that the provider says it used."""

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
