"""The keys of clients, and the streams that they stand for, as this worker knows them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from .followed import Followed
from .shared.entries import Claim

MAX_REMEMBERED = 20_000
"""How many ids and keys of forgotten streams are remembered, so that the same answer is never bought twice."""


class Claims:
    """Not thread-safe: its user holds a lock."""

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], Claim] = {}
        self._old: OrderedDict[tuple[str, str], Claim] = OrderedDict()

    def get(self, owner: str, key: str) -> Claim | None:
        return self._claims.get((owner, key)) or self._old.get((owner, key))

    def all(self) -> list[tuple[str, str, Claim]]:
        """Owner, key and claim of each."""
        return [(*place, claim) for place, claim in (*self._claims.items(), *self._old.items())]

    def keep(self, stream: Followed, fingerprint: bytes) -> None:
        """The stream's key, if it has one, stands for it."""
        if stream.key:
            self._claims[stream.owner, stream.key] = Claim(stream.id, fingerprint)

    def drop(self, stream: Followed) -> Claim | None:
        """The key is free again, if it stands for this stream."""
        place = (stream.owner, stream.key or "")
        claim = self._claims.get(place)
        if claim is None or claim.stream_id != stream.id:
            return None
        return self._claims.pop(place)

    def retire(self, stream: Followed) -> None:
        """The stream is forgotten, and its key is not."""
        if claim := self.drop(stream):
            self._old[stream.owner, stream.key or ""] = claim
            trim(self._old)


def trim(table: OrderedDict[Any, Any]) -> None:
    while len(table) > MAX_REMEMBERED:
        table.popitem(last=False)
