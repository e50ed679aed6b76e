"""The clients' keys that this worker knows, and the stream that each key identifies."""

from __future__ import annotations

from .followed import Followed
from .remembered import Remembered
from .remembered import digest
from .shared.entries import Claim

ID_BYTES = 10
FINGERPRINT_BYTES = 32


class Claims:
    """Finds a claim by a digest of owner and key, so two owners may use the same key.

    Not thread-safe: the caller holds a lock.
    """

    def __init__(self) -> None:
        self._claims: dict[bytes, Claim] = {}
        self._forgotten = Remembered(ID_BYTES + FINGERPRINT_BYTES)
        """Keys of forgotten streams, so that a repeated request does not pay for the same answer twice."""

    def get(self, owner: str, key: str) -> Claim | None:
        return self._at(digest(owner, key))

    def all(self) -> list[tuple[bytes, Claim]]:
        """The digest and the claim of each key, including the keys of forgotten streams."""
        return [*self._claims.items(), *((place, _claim(value)) for place, value in self._forgotten.items())]

    def keep(self, stream: Followed, fingerprint: bytes) -> None:
        """Register the stream's key, if it has one."""
        if stream.key:
            self._claims[digest(stream.owner, stream.key)] = Claim(stream.id, fingerprint)

    def drop(self, stream: Followed) -> Claim | None:
        """Free the stream's key and return its claim; None if the key does not identify this stream."""
        place = digest(stream.owner, stream.key or "")
        claim = self._claims.get(place)
        if claim is None or claim.stream_id != stream.id:
            return None
        return self._claims.pop(place)

    def retire(self, stream: Followed) -> None:
        """Forget the stream and remember its key."""
        if claim := self.drop(stream):
            value = bytes.fromhex(claim.stream_id) + claim.fingerprint
            self._forgotten.keep(digest(stream.owner, stream.key or ""), value)

    def _at(self, place: bytes) -> Claim | None:
        if claim := self._claims.get(place):
            return claim
        value = self._forgotten.get(place)
        return None if value is None else _claim(value)


def _claim(value: bytes) -> Claim:
    return Claim(value[:ID_BYTES].hex(), value[ID_BYTES:])
