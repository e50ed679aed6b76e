"""The parameters and responses of each view, by the endpoint's name below the blueprint's."""

from __future__ import annotations

from ...errors import InvalidField
from ...errors import LogUnavailable
from ...errors import NotJSON
from ...errors import RequestError
from ...errors import TooLarge
from ...errors.statuses import CLIENT_CLOSED_REQUEST
from ...requests import WrongParameter
from ...requests.parameters import UnknownModel
from ...requests.responses import UnknownResponse
from ...wire import durable
from ..routes.responses import NoSuchResponse
from .common import ADMITTED
from .common import AGUI_EVENTS
from .common import ANSWER
from .common import CANCELLED
from .common import FAILED
from .common import FILTERS
from .common import FORMAT
from .common import FOUND
from .common import IN_TEXT
from .common import KEY
from .common import LAST_EVENT_ID
from .common import NATIVE_EVENTS
from .common import NOTHING
from .common import NUMBER
from .common import OPENAI
from .common import OPENAI_EVENTS
from .common import READ
from .common import REPORT
from .common import REPORTED
from .common import RESPONSE_EVENTS
from .common import STARTED
from .common import STARTED_STREAM
from .common import STATUS_EVENT
from .common import STREAM
from .common import STRING
from .common import UI_EVENTS
from .common import object_of
from .common import probe
from .components import ref
from .operation import JSON
from .operation import Operation
from .operation import events
from .operation import parameter

NATIVE: dict[str, Operation] = {
    "chat": Operation(
        tag="native",
        summary="Ask, and read the answer",
        description="`prompt` is required without `Last-Event-ID`. Failures are events: `EventSource` sees no status.",
        parameters=(
            parameter("prompt", {"type": "string", "minLength": 1}, "The question."),
            parameter("model", STRING, "A model other than the default."),
            parameter("key", KEY["schema"], str(KEY["description"])),
            FORMAT,
            LAST_EVENT_ID,
        ),
        answers={200: STREAM | ANSWER, 204: NOTHING} | CANCELLED,
        errors=(*ADMITTED, RequestError, InvalidField, *STARTED, *FAILED),
    ),
    "chat_by_post": Operation(
        tag="native",
        summary="Ask, and read the answer",
        description="A failure before the first content is an error response with its own status.",
        parameters=(FORMAT, LAST_EVENT_ID),
        body="ChatRequest",
        answers={200: STREAM | ANSWER, 204: NOTHING} | CANCELLED,
        errors=(*ADMITTED, *READ, *STARTED, *FAILED),
    ),
    "start_stream": Operation(
        tag="native",
        summary="Ask, and get the URL of the answer",
        body="ChatRequest",
        answers={201: {JSON: STARTED_STREAM}},
        links=dict.fromkeys(("follow_stream_get", "cancel_stream_delete", "cancel_stream_post"), "stream_id"),
        errors=(*ADMITTED, *READ, *STARTED),
    ),
    "follow_streams": Operation(
        tag="native",
        summary="Read several answers in one response",
        parameters=(
            parameter(
                "after",
                {
                    "type": "array",
                    "minItems": 1,
                    "maxItems": 100,
                    "items": {"type": "string", "pattern": "-[0-9]{1,9}$"},
                },
                "`<stream>-<n>`, once for each stream: continue after event `<n>`.",
                required=True,
            ),
        ),
        answers={200: events("The events of all these streams.", NATIVE_EVENTS | STATUS_EVENT)},
        errors=(*ADMITTED, InvalidField, LogUnavailable),
    ),
    "follow_stream": Operation(
        tag="native",
        summary="Read an answer from any event",
        description="With `offset` or `live` the response follows Durable Streams 1.0.",
        parameters=(
            parameter("format", STRING, "As in `GET …/chat`. Ignored with `offset` or `live`."),
            parameter("after", NUMBER, "The number of the last event that the reader has."),
            LAST_EVENT_ID,
            parameter(
                "offset",
                {"type": "string", "pattern": rf"^(-1|now|[0-9]{{{durable.OFFSET_DIGITS}}})$"},
                "Durable Streams: the place to read from.",
            ),
            parameter("live", STRING, "Durable Streams: wait for new events, by `sse` or `long-poll`."),
            parameter("cursor", STRING, "Durable Streams: the cursor of the previous response."),
        ),
        answers={
            200: STREAM | {JSON: {"anyOf": [ref("Answer"), {"type": "array", "items": {"type": "object"}}]}},
            204: NOTHING,
            304: NOTHING,
            CLIENT_CLOSED_REQUEST: NOTHING,
        },
        errors=(*ADMITTED, RequestError, InvalidField, *FOUND),
    ),
    "cancel_stream": Operation(
        tag="native", summary="Stop an answer", answers={204: NOTHING}, errors=(*ADMITTED, *FOUND)
    ),
}

OPENAI_ROUTES: dict[str, Operation] = {
    "openai.create_completion": Operation(
        tag="openai",
        summary="OpenAI's chat completions",
        description="The header `x-llm-stream-left-out` names the unsupported parameters that were ignored.",
        parameters=(KEY,),
        body="ChatCompletionRequest",
        answers={200: OPENAI_EVENTS | {JSON: ref("ChatCompletion")}},
        errors=(*ADMITTED, RequestError, WrongParameter, UnknownModel, TooLarge, NotJSON, *STARTED, *FAILED),
        form=OPENAI,
    ),
    "openai.create_response": Operation(
        tag="openai",
        summary="OpenAI's Responses API",
        parameters=(KEY,),
        body="ResponseRequest",
        answers={200: RESPONSE_EVENTS | {JSON: ref("Response")}},
        links=dict.fromkeys(
            ("openai_retrieve_response_get", "openai_cancel_response_post", "openai_delete_response_delete"),
            "response_id",
        ),
        errors=(
            *ADMITTED,
            RequestError,
            WrongParameter,
            UnknownModel,
            UnknownResponse,
            TooLarge,
            NotJSON,
            *STARTED,
            *FAILED,
        ),
        form=OPENAI,
    ),
    "openai.retrieve_response": Operation(
        tag="openai",
        summary="Read a response from any event",
        parameters=(
            parameter("stream", {"enum": ["true", "false"]}, "`true`: respond with an event stream."),
            parameter("starting_after", {"type": "integer"}, "The last `sequence_number` that the client has."),
        ),
        answers={200: RESPONSE_EVENTS | {JSON: ref("Response")}},
        errors=(*ADMITTED, WrongParameter, NoSuchResponse, LogUnavailable),
        form=OPENAI,
    ),
    "openai.cancel_response": Operation(
        tag="openai",
        summary="Stop a response",
        answers={200: {JSON: ref("Response")}},
        errors=(*ADMITTED, NoSuchResponse, LogUnavailable),
        form=OPENAI,
    ),
    "openai.delete_response": Operation(
        tag="openai",
        summary="Delete a response",
        answers={200: {JSON: object_of(object="response", deleted=True)}},
        errors=(*ADMITTED, NoSuchResponse, LogUnavailable),
        form=OPENAI,
    ),
    "openai.list_models": Operation(
        tag="openai",
        summary="List the allowed models",
        answers={
            200: {
                JSON: {
                    "type": "object",
                    "required": ["object", "data"],
                    "properties": {"object": {"const": "list"}, "data": {"type": "array", "items": ref("Model")}},
                }
            }
        },
        errors=ADMITTED,
        form=OPENAI,
    ),
    "openai.retrieve_model": Operation(
        tag="openai",
        summary="Get an allowed model",
        answers={200: {JSON: ref("Model")}},
        errors=(*ADMITTED, UnknownModel),
        form=OPENAI,
    ),
}

CLIENTS: dict[str, Operation] = {
    "ui.ui_chat": Operation(
        tag="useChat",
        summary="A turn of the Vercel AI SDK's useChat or useCompletion",
        description="A body with `messages` or `message` is a turn of a chat. A body with `prompt` is a completion.",
        body="UIChatRequest",
        answers={200: UI_EVENTS},
        errors=(*ADMITTED, *READ, *STARTED, *FAILED),
        form=IN_TEXT,
    ),
    "ui.resume_ui_chat": Operation(
        tag="useChat",
        summary="Read the answer that is being written in a chat",
        answers={200: UI_EVENTS, 204: NOTHING},
        errors=(*ADMITTED, LogUnavailable),
        form=IN_TEXT,
    ),
    "ui.stop_ui_chat": Operation(
        tag="useChat",
        summary="Stop the answers of a chat",
        answers={204: NOTHING},
        errors=(*ADMITTED, LogUnavailable),
        form=IN_TEXT,
    ),
    "run_agent": Operation(
        tag="AG-UI",
        summary="A run of an AG-UI agent",
        body="RunAgentInput",
        answers={200: AGUI_EVENTS},
        errors=(*ADMITTED, *READ, *STARTED, *FAILED),
    ),
    "stop_thread": Operation(
        tag="AG-UI",
        summary="Stop the answers of a thread",
        answers={204: NOTHING},
        errors=(*ADMITTED, LogUnavailable),
    ),
}

OPERATING: dict[str, Operation] = {
    "usage_page": Operation(
        tag="usage",
        summary="Tokens and costs, as a page",
        parameters=(*FILTERS, parameter("back", STRING, "A path of this site that the page links to.")),
        answers={200: {"text/html": STRING}},
        errors=REPORTED,
    ),
    "usage_json": Operation(
        tag="usage", summary="Tokens and costs", parameters=FILTERS, answers={200: {JSON: REPORT}}, errors=REPORTED
    ),
    "usage_csv": Operation(
        tag="usage",
        summary="The usage record of each stream",
        parameters=FILTERS,
        answers={200: {"text/csv": STRING}},
        errors=REPORTED,
    ),
    "healthz": Operation(
        tag="probes", summary="Whether the worker answers requests", answers={200: probe(status="ok")}
    ),
    "readyz": Operation(
        tag="probes",
        summary="Whether the worker takes new streams",
        answers={
            200: probe(status="ready", log=["ok", "away"], ledger=["ok", "away"]),
            503: probe(status=["draining", "several_processes"]),
        },
    ),
    "openapi": Operation(
        tag="probes", summary="This description", answers={200: {JSON: {"type": "object", "required": ["openapi"]}}}
    ),
}

OPERATIONS = {**NATIVE, **OPENAI_ROUTES, **CLIENTS, **OPERATING}
USAGE = ("usage_page", "usage_json", "usage_csv")
