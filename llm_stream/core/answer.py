"""The answer of a stream, in the form that an app stores."""

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
    """The attributes of a stream that its `Answer` copies."""

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
    """A complete or partial answer: what readers saw, and who asked. All fields except `record` are plain JSON.

    `status` is `running` until the stream ends. `text`, `reasoning` and `refusal` cover all steps. An entry of
    `tool_calls` is `{"id", "name", "arguments", "server"?, "result"? or "error"?, "approval"?, "opaque"?}`. `results`
    belong to tool calls of an earlier answer, which waited for the reader's approval. `sources`, `files` and `data`
    have the fields of their events, without transient data. `error` is the `Failure`, if there was one.

    `parsed` is the JSON of an answer with a schema: `Invoice.model_validate(answer.parsed)`. It is None until the
    answer is complete and matches the schema. The JSON value null is None, too.

    `messages` is the answer as messages of the chat completions API. Append them to the conversation: they have
    all that the provider wants back on the next turn. `opaque` has the provider's own fields of the last message.

    `metadata` is the JSON that the app passed, and `key` the key that the client sent. `record` is None until the
    stream has ended, and if another worker wrote the record.
    """

    owner: str
    key: str | None = None
    metadata: dict[str, Any] = msgspec.field(default_factory=dict)
    opaque: dict[str, Any] = msgspec.field(default_factory=dict)
    record: UsageRecord | None = None

    @classmethod
    def of(cls, stream: Identified, events: Sequence[Event], record: UsageRecord | None = None) -> Answer:
        """`events` are all events of the stream so far; empty if they were lost with the stream's worker."""
        common: dict[str, Any] = {"owner": stream.owner, "metadata": dict(stream.metadata), "record": record}
        common["key"] = stream.key if stream.key and " " not in stream.key else None  # our own keys have a space
        if not events:
            status, reason = (record.status, record.finish_reason) if record else ("interrupted", None)
            return cls(stream.id, stream.model, status, reason, "", None, **common)
        snapshot = snapshot_of(events)
        fields = {name: getattr(snapshot, name) for name in snapshot.__struct_fields__}
        results, turn = turn_of(events)
        fields["messages"] = plain(results, turn)
        return cls(**fields, **common, opaque=turn[-1].get("opaque", {}) if turn else {})
