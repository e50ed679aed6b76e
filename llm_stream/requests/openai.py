"""Reads the body of OpenAI's `POST /chat/completions`. Errors name the parameter.

OpenAI clients send many optional parameters, so this module is less strict than `requests.native`. A parameter is read,
passed on unchanged, refused if the answer would be wrong without it, or ignored. A parameter that could raise the cost
above the limits is never passed on.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Decision
from ..chat_request import decisions
from ..errors import InvalidField
from ..settings import Settings
from . import WrongParameter
from .messages import Message
from .messages import plain
from .native import MAX_MESSAGES
from .native import MAX_TOOLS
from .parameters import Count
from .parameters import check_model
from .parameters import convert
from .parameters import key_of
from .parameters import left_out
from .parameters import refuse_unsupported
from .reading import json_object
from .response_format import FIELD as RESPONSE_FORMAT
from .response_format import ResponseFormat
from .response_format import options_of

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]

UNSUPPORTED: dict[str, Sequence[Any]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": (),
    "web_search_options": (),
}
"""Unsupported parameters, with the values that have no effect. These values and null are accepted."""


class CompletionRequest(msgspec.Struct, frozen=True):
    """A request to a model, and the format of its answer."""

    request: ChatRequest
    stream: bool
    include_usage: bool
    left_out: Sequence[str]
    """The ignored parameters, for a response header."""


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Used(msgspec.Struct):
    """The parameters that this library interprets."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    response_format: ResponseFormat | None = None
    approvals: dict[str, Any] | None = None
    """An extension of OpenAI's API, with the format of `POST /chat`."""


class _PassedOn(msgspec.Struct, omit_defaults=True):
    """The parameters that are passed on unchanged. None can raise the cost above the limits."""

    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


BODY, PASSED_ON = _Used, _PassedOn
KNOWN = {*_Used.__struct_fields__, *_PassedOn.__struct_fields__, *UNSUPPORTED}


def from_body(
    body: bytes, settings: Settings, default_model: str, *, key: str | None = None, may_instruct: bool = False
) -> CompletionRequest:
    """Read a JSON body. `may_instruct` allows system messages. Raises `RequestError`."""
    fields = json_object(body, '{"messages": […]}')
    refuse_unsupported(fields, UNSUPPORTED)
    parsed = convert(fields, _Used)
    request = ChatRequest(
        messages=plain(parsed.messages, may_instruct=may_instruct),
        model=default_model if parsed.model is None else check_model(parsed.model, settings, default_model),
        max_output_tokens=_max_output_tokens(parsed, settings),
        temperature=parsed.temperature,
        tools=fields.get("tools") or None,
        options=msgspec.to_builtins(convert(fields, _PassedOn)) | _response_format(parsed.response_format),
        key=key_of(key),
        approvals=_approvals(parsed.approvals or {}),
    )
    usage = parsed.stream_options is not None and bool(parsed.stream_options.include_usage)
    return CompletionRequest(request, stream=bool(parsed.stream), include_usage=usage, left_out=left_out(fields, KNOWN))


def _max_output_tokens(parsed: _Used, settings: Settings) -> int:
    """The lowest of the limits: clients often send the model's maximum. A cut answer has the finish_reason `length`."""
    limits = (parsed.max_tokens, parsed.max_completion_tokens, settings.max_output_tokens)
    return min(limit for limit in limits if limit is not None)


def _response_format(response_format: ResponseFormat | None) -> dict[str, Any]:
    try:
        return options_of(response_format)
    except InvalidField as error:
        raise WrongParameter(str(error), RESPONSE_FORMAT) from error


def _approvals(approvals: Mapping[str, Any]) -> dict[str, Decision]:
    try:
        return decisions(approvals)
    except InvalidField as error:
        raise WrongParameter(str(error), "approvals") from error
