"""The answer of a stream, as an app keeps it."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

import msgspec

from ..events import Event
from ..usage.record import UsageRecord
from ..wire.answer import Snapshot
from ..wire.answer import snapshot_of
from ..wire.turn import plain
from ..wire.turn import turn_of


class Identified(Protocol):
    """A stream, as far as its answer depends on it."""

    @property
    def id(self) -> str: ...

    @property
    def owner(self) -> str: ...

    @property
    def key(self) -> str | None: ...

    @property
    def model(self) -> str | None: ...

    @property
    def metadata(self) -> Mapping[str, Any]: ...


class Answer(Snapshot, kw_only=True, omit_defaults=True):
    """An answer, complete or so far: what its readers saw, and who asked. All of it but `record` is plain JSON.

    `status` is `running` until the stream ends. `text`, `reasoning` and `refusal` are those of all steps. An entry of
    `tool_calls` is `{"id", "name", "arguments", "server"?, "result"? or "error"?, "approval"?, "opaque"?}`. `results`
    are those of calls that an earlier answer made and that were approved since. `sources`, `files` and `data` have the
    fields of their events; transient data is left out. `error` is the `Failure`, if there was one.

    `parsed` is the JSON of an answer that was asked for with a schema: `Invoice.model_validate(answer.parsed)`. It is
    None until the answer is whole and fits, as is the JSON null.

    `messages` are the answer in the form of the chat completions API. Append them to the conversation, and the next
    turn has all that the provider wants back. `opaque` are the provider's own fields of the last message.

    `metadata` is what the app passed. `key` is what the client sent. `record` is None until the stream has ended, and
    where another worker wrote it.
    """

    owner: str
    key: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    opaque: dict[str, Any] = msgspec.field(default_factory=dict)
    record: UsageRecord | None = None

    @classmethod
    def of(cls, stream: Identified, events: Sequence[Event], record: UsageRecord | None = None) -> Answer:
        """`events` are all of the stream's so far. None at all: the worker that wrote them is lost, and so are they."""
        common: dict[str, Any] = {"owner": stream.owner, "metadata": dict(stream.metadata), "record": record}
        common["key"] = stream.key if stream.key and " " not in stream.key else None  # ours have a space
        if not events:
            status, reason = (record.status, record.finish_reason) if record else ("interrupted", None)
            return cls(stream.id, stream.model, status, reason, "", None, **common)
        snapshot = snapshot_of(events)
        fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
        results, turn = turn_of(events)
        fields["messages"] = plain(results, turn)
        return cls(**fields, **common, opaque=turn[-1].get("opaque", {}) if turn else {})
