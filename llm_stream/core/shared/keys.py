"""The names of the keys in the store. Each command names one key, so that a cluster may spread them."""

from __future__ import annotations

from ..remembered import digest


class Keys:
    """The keys of one `LLMStream`. Apps that share a store need a database number each, or names that differ."""

    def __init__(self, name: str) -> None:
        self._prefix = f"llm_stream:{name}"
        self.workers = f"{self._prefix}:workers"
        """Sorted set: worker → end of its lease, in milliseconds of the store's clock."""
        self.epoch = f"{self._prefix}:epoch"
        """A random string that is written into an empty store: it differs after the store has lost everything."""

    def log(self, stream_id: str) -> str:
        """Stream: an entry for each batch of events. Its id is the number of the batch's last event."""
        return f"{self._prefix}:log:{{{stream_id}}}"

    @property
    def every_log(self) -> str:
        """The pattern of all logs' keys."""
        return f"{self._prefix}:log:*"

    def id_in(self, log: str) -> str:
        return log.rpartition("{")[2].rstrip("}")

    def tombstone(self, stream_id: str) -> str:
        """String: the owner of a stream that has ended. It outlives the log."""
        return f"{self._prefix}:ended:{{{stream_id}}}"

    def end_of_lost(self, stream_id: str) -> str:
        """String: the end that was written for a lost stream. It outlives the log, as the lost worker may wake late."""
        return f"{self._prefix}:lost:{{{stream_id}}}"

    def claim(self, owner: str, key: str) -> str:
        """String: the stream that a client's key identifies, and the fingerprint of its request."""
        return self.claim_at(digest(owner, key))

    def claim_at(self, place: bytes) -> str:
        """Like `claim`, by the digest of the owner and the key."""
        return f"{self._prefix}:key:{place.hex()}"

    def slots(self, owner: str) -> str:
        """Sorted set: running stream → the latest time when it can end."""
        return f"{self._prefix}:slots:{digest(owner).hex()}"

    def streams_of(self, owner: str) -> str:
        """Sorted set: stream → when it began."""
        return f"{self._prefix}:owner:{digest(owner).hex()}"

    def running(self, worker: str) -> str:
        """Hash: running stream of this worker → how many readers it has."""
        return f"{self._prefix}:running:{worker}"

    def inbox(self, worker: str) -> str:
        """Stream: messages to this worker."""
        return f"{self._prefix}:inbox:{worker}"
