"""Sources, files and the app's own data in AG-UI, which has events for the state and custom events for the rest."""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..events import Data
from ..events import File
from ..events import Partial
from ..events import Source
from . import without_none
from .answer import fields_of

STATE = "state"
STATE_DELTA = "state_delta"


class _Operation(msgspec.Struct):
    """An operation of a JSON Patch, RFC 6902."""

    op: Literal["add", "remove", "replace", "move", "copy", "test"]
    path: Annotated[str, msgspec.Meta(pattern=r"^(/([^/~]|~[01])*)*\Z")]
    value: Any = msgspec.UNSET
    origin: Annotated[str, msgspec.Meta(pattern=r"^(/([^/~]|~[01])*)*\Z")] | msgspec.UnsetType = msgspec.field(
        default=msgspec.UNSET, name="from"
    )

    @property
    def is_whole(self) -> bool:
        if self.op in ("move", "copy"):
            return self.origin is not msgspec.UNSET
        return self.op == "remove" or self.value is not msgspec.UNSET


def agui_data(event: Source | File | Data | Partial) -> dict[str, Any]:
    """Sources and files become custom events named `source` and `file`. Data becomes a custom event with its own name,
    and with its `id` and `transient` in the metadata.

    Data named `state` is the client's new state, and `state_delta` is a JSON Patch of it. An invalid patch would make
    the client end the run, so it becomes a custom event.

    Partial JSON is a custom event named `partial`, because a state snapshot would replace the app's own state.
    """
    if isinstance(event, Partial):
        return {"type": "CUSTOM", "name": event.type, "value": event.value}
    if not isinstance(event, Data):
        return {"type": "CUSTOM", "name": event.type, "value": fields_of(event)}
    if event.name == STATE:
        return {"type": "STATE_SNAPSHOT", "snapshot": event.data}
    if event.name == STATE_DELTA and _is_patch(event.data):
        return {"type": "STATE_DELTA", "delta": event.data}
    metadata = without_none({"id": event.id, "transient": event.transient or None})
    custom = {"type": "CUSTOM", "name": event.name, "value": event.data}
    return custom | ({"metadata": metadata} if metadata else {})


def _is_patch(data: Any) -> bool:
    try:
        return all(operation.is_whole for operation in msgspec.convert(data, list[_Operation]))
    except msgspec.ValidationError:
        return False
