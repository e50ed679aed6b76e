"""The upstreams of one `LLMStream` in one app. Each has a client, a breaker and a queue per worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from openai import OpenAI

from ..settings import ApiName
from ..settings import Upstream
from .allowance import Allowance
from .breaker import Breaker
from .client import Client
from .queue import FairQueue
from .source import Place


@dataclass(frozen=True, eq=False)
class Provider:
    """One upstream. Without LLM_STREAM_UPSTREAMS there is a single upstream, with a client but without a name."""

    client: Client
    name: str | None = None
    base_url: str | None = None
    breaker: Breaker | None = None
    queue: FairQueue | None = None

    @property
    def is_open(self) -> bool:
        """Whether the breaker is open: the upstream is down, so calls should go to others."""
        return self.breaker is not None and self.breaker.is_open

    def admit(self) -> bool:
        """Whether the breaker lets a call through."""
        return self.breaker is None or self.breaker.admit()

    def release(self) -> None:
        """An admitted call has ended. Allows another trial if the call did not show whether the upstream is down."""
        if self.breaker is not None:
            self.breaker.released()


@dataclass(frozen=True)
class Candidate:
    """A model at an upstream that may write the answer."""

    provider: Provider
    name: str
    """Our name of the model."""
    model: str
    """The upstream's name of the model."""
    api: ApiName
    """The API to call the model with."""

    @property
    def alias(self) -> str | None:
        return self.name if self.name != self.model else None

    @property
    def place(self) -> Place:
        return Place(model=self.model, alias=self.alias, base_url=self.provider.base_url)


class Upstreams:
    def __init__(self, table: Mapping[str, Upstream], client: Client, api_of: Callable[[str], ApiName]) -> None:
        """`table` is `LLM_STREAM_UPSTREAMS`. If empty, `client` is the only upstream, with the API `api_of(model)`."""
        self.are_several = bool(table)
        self.hedges = Allowance()
        self._client = client
        self._api_of = api_of
        self._served = [(_provider(name, upstream), upstream) for name, upstream in table.items()]

    def candidates(self, models: Iterable[str]) -> list[Candidate]:
        """The candidates: for each model in turn, all upstreams with the model, in the order of the table."""
        if not self.are_several:
            only = Provider(self._client)
            return [Candidate(only, model, model, self._api_of(model)) for model in models]
        return [
            Candidate(provider, model, upstream.names[model], upstream.api)
            for model in dict.fromkeys(models)
            for provider, upstream in self._served
            if model in upstream.names
        ]

    def close(self) -> None:
        """Close the connections to the upstreams of the table. The next call opens new ones."""
        for provider, _ in self._served:
            provider.client.close()


def _provider(name: str, upstream: Upstream) -> Provider:
    has_limits = upstream.calls_at_once is not None or upstream.calls_per_minute is not None
    return Provider(
        Client(partial(_make, upstream)),
        name,
        upstream.base_url,
        Breaker(name),
        FairQueue(upstream.calls_at_once, upstream.calls_per_minute) if has_limits else None,
    )


def _make(upstream: Upstream) -> OpenAI:
    return OpenAI(base_url=upstream.base_url, api_key=os.environ[upstream.key_variable])
