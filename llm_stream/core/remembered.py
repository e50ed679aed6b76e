"""A compact memory of forgotten streams: their ids, their owners, and the keys that identified them."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import blake2b

DIGEST_BYTES = 16
MOST = 20_000
"""How many of the newest entries are always remembered. At most twice as many are kept."""

FIRST_PLACES = 64
GROWTH = 8
"""Other streams wait while a table grows. It moves fewer than 3,000 entries at once, which takes a few milliseconds."""

NOTHING = bytes(DIGEST_BYTES)


def digest(*parts: str) -> bytes:
    """A digest of `DIGEST_BYTES` bytes. `parts` may be any strings, even with lone surrogates."""
    return blake2b("\0".join(parts).encode(errors="surrogatepass"), digest_size=DIGEST_BYTES).digest()


class Remembered:
    """Maps digests to values of one size. Not thread-safe.

    A dict would hold many small objects, scattered among others that are freed long before them. Python returns memory
    to the system only in empty arenas of 1 MiB, so 12,000 ids in a dict kept 180 MiB occupied.
    """

    def __init__(self, value_bytes: int, most: int = MOST) -> None:
        self._value_bytes = value_bytes
        self._most = most
        self._new = _Table(value_bytes)
        self._old = _Table(value_bytes)

    def keep(self, name: bytes, value: bytes = b"") -> None:
        if len(self._new) >= self._most:
            self._old, self._new = self._new, _Table(self._value_bytes)
        self._new.put(name, value)

    def get(self, name: bytes) -> bytes | None:
        found = self._new.get(name)
        return self._old.get(name) if found is None else found

    def __contains__(self, name: bytes) -> bool:
        return self.get(name) is not None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """If a name has two values, the newer one comes first."""
        yield from self._new.items()
        yield from self._old.items()


class _Table:
    """A hash table with open addressing, in one block of memory. A digest is its own hash."""

    def __init__(self, value_bytes: int, places: int = FIRST_PLACES) -> None:
        self._value_bytes = value_bytes
        self._entry_bytes = DIGEST_BYTES + value_bytes
        self._places = places
        self._bytes = bytearray(places * self._entry_bytes)
        self._used = 0

    def __len__(self) -> int:
        return self._used

    def put(self, name: bytes, value: bytes) -> None:
        if 3 * self._used >= 2 * self._places:
            self._grow()
        at, is_taken = self._place_of(name)
        self._used += not is_taken
        self._bytes[at : at + self._entry_bytes] = name + value

    def get(self, name: bytes) -> bytes | None:
        at, is_taken = self._place_of(name)
        return bytes(self._bytes[at + DIGEST_BYTES : at + self._entry_bytes]) if is_taken else None

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        for at in range(0, len(self._bytes), self._entry_bytes):
            name = bytes(self._bytes[at : at + DIGEST_BYTES])
            if name != NOTHING:
                yield name, bytes(self._bytes[at + DIGEST_BYTES : at + self._entry_bytes])

    def _place_of(self, name: bytes) -> tuple[int, bool]:
        """The offset of the entry of `name`, or of the free entry for it; and whether the entry exists."""
        place = int.from_bytes(name[:8], "big") % self._places
        while True:
            at = place * self._entry_bytes
            found = self._bytes[at : at + DIGEST_BYTES]
            if found in (name, NOTHING):
                return at, found == name
            place = (place + 1) % self._places

    def _grow(self) -> None:
        larger = _Table(self._value_bytes, GROWTH * self._places)
        for name, value in self.items():
            larger.put(name, value)
        self._places, self._bytes = larger._places, larger._bytes
