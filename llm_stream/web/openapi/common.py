"""The errors, parameters and response formats that several routes share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...errors import BudgetHeld
from ...errors import CrossSite
from ...errors import ExpiredStream
from ...errors import InvalidField
from ...errors import KeyConflict
from ...errors import LedgerUnavailable
from ...errors import LLMStreamError
from ...errors import LogUnavailable
from ...errors import NoLedger
from ...errors import NotJSON
from ...errors import OverBudget
from ...errors import Overloaded
from ...errors import Prefetch
from ...errors import RequestError
from ...errors import SeveralProcesses
from ...errors import StreamError
from ...errors import TooLarge
from ...errors import TooManyStreams
from ...errors import Unauthorized
from ...errors import UnknownStream
from ...errors import Unpriced
from ...errors import UsageClosed
from ...errors.statuses import CLIENT_CLOSED_REQUEST
from ...events import KINDS
from ...reports.filters import DIMENSIONS
from .. import response
from .components import Schema
from .components import ref
from .operation import JSON
from .operation import TEXT
from .operation import Content
from .operation import events
from .operation import parameter

Errors = tuple[type[LLMStreamError], ...]


def _all_below(error: type[LLMStreamError]) -> Iterator[type[LLMStreamError]]:
    yield error
    for below in error.__subclasses__():
        yield from _all_below(below)


ADMITTED: Errors = (Unauthorized, CrossSite, Prefetch, SeveralProcesses)
READ: Errors = (RequestError, InvalidField, TooLarge, NotJSON)
STARTED: Errors = (
    OverBudget, BudgetHeld, Unpriced, KeyConflict, ExpiredStream, TooManyStreams, Overloaded, LogUnavailable,
    LedgerUnavailable,
)  # fmt: skip
FAILED: Errors = tuple(_all_below(StreamError))
FOUND: Errors = (UnknownStream, ExpiredStream, LogUnavailable)
REPORTED: Errors = (InvalidField, Unauthorized, UsageClosed, NoLedger, LedgerUnavailable)

OPENAI: Content = {JSON: ref("OpenAIError")}
IN_TEXT: Content = {TEXT: {"type": "string"}}
NOTHING: Content = {}

NATIVE_EVENTS = {name: ref(f"Event_{name}") for name in KINDS}
STATUS_EVENT = {
    "status": {
        "type": "object",
        "required": ["id", "status"],
        "properties": {"id": {"type": "string"}, "status": {"enum": [204, 404, 410]}, "error": ref("Event_failure")},
    }
}
STREAM = events("Each event has an id, a name and JSON. The last one is `done`.", NATIVE_EVENTS)
ANSWER = {JSON: ref("Answer")}
CANCELLED = {CLIENT_CLOSED_REQUEST: {JSON: ref("Answer")}}

STRING: Schema = {"type": "string"}
FORMAT = parameter("format", {"enum": list(response.WIRES)}, "The format of the event stream.")
LAST_EVENT_ID = parameter("Last-Event-ID", STRING, "`<stream>-<n>`: continue after this event.", where="header")
KEY = parameter(
    "Idempotency-Key",
    {"type": "string", "minLength": 1, "maxLength": 128, "pattern": "^[!-~]+$"},
    "A repeated request with the same key gets the same answer, which is bought once.",
    where="header",
)
NUMBER: Schema = {"type": "string", "pattern": "^[0-9]{1,9}$"}
DAY: Schema = {"type": "string", "description": "A day like 2026-11-01, or a time ago like 7d, 4w, 3m or 1y."}
NAMES: Schema = {"type": "array", "items": STRING}
FILTERS = (
    parameter("since", DAY, "The first day."),
    parameter("until", DAY, "The last day."),
    parameter("by", {"enum": ["", *DIMENSIONS]}, "What to group by."),
    *(
        parameter(name, NAMES, "Only streams with this value; may be repeated.")
        for name in ("model", "owner", "status")
    ),
)
FIGURES: Schema = {"type": "object", "required": ["streams", "spend", "input_tokens", "output_tokens"]}
REPORT: Schema = {
    "type": "object",
    "required": ["filters", "by", "totals", "groups", "days", "models", "owners", "statuses"],
    "properties": {"totals": FIGURES, "groups": {"type": "array", "items": FIGURES}},
}
OPENAI_EVENTS = events(
    "Lines of `data:`. Each is a chunk of https://platform.openai.com/docs/api-reference/chat-streaming or"
    " an `OpenAIError`. The last line is `[DONE]`."
)
RESPONSE_EVENTS = events(
    "Events of https://platform.openai.com/docs/api-reference/responses-streaming, from `response.created` to"
    " `response.completed`, `response.incomplete` or `response.failed`. Each has a `sequence_number`."
)
UI_EVENTS = events("Parts of https://ai-sdk.dev/docs/ai-sdk-ui/stream-protocol, version 1. The last line is `[DONE]`.")
AGUI_EVENTS = events(
    "Events of https://docs.ag-ui.com/concepts/events, from `RUN_STARTED` to `RUN_FINISHED` or `RUN_ERROR`."
)
STARTED_STREAM: Schema = {
    "type": "object",
    "required": ["id", "url"],
    "properties": {"id": STRING, "url": {"type": "string", "format": "uri-reference"}},
}


def object_of(**constants: Any) -> Schema:
    properties = {name: {"enum": value if isinstance(value, list) else [value]} for name, value in constants.items()}
    return {"type": "object", "properties": properties}


def probe(**constants: Any) -> Content:
    return {JSON: object_of(**constants) | {"required": ["status"]}}
