"""The body of OpenAI's `POST /chat/completions` becomes a ChatRequest, or an error that names the parameter.

Programs that were written for OpenAI send much that they do not insist on, so this is not as strict as `chat_request`:
a parameter is read, passed on as it is, refused because the answer would not be what was asked for, or left out. What
could make an answer dearer than the limits allow is never passed on.
https://platform.openai.com/docs/api-reference/chat/create
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypeVar

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Key
from ..errors.validation import what_and_where
from ..requests.native import MAX_MESSAGES
from ..requests.native import MAX_TOOLS
from ..settings import Settings
from . import WrongParameter
from .messages import Message
from .messages import plain
from .reading import json_object

StructT = TypeVar("StructT", bound=msgspec.Struct)

Count = Annotated[int, msgspec.Meta(ge=1)]
Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]

MODEST: dict[str, Sequence[Any]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "modalities": (["text"],),
    "audio": (),
    "functions": ([],),
    "function_call": (),
    "web_search_options": (),
}
"""What cannot be done here, and the values, beside null, that do not ask for it."""


class UnknownModel(WrongParameter):
    """Not the default model, and not in LLM_STREAM_MODELS."""

    status = 404
    code = "model_not_found"


class Asked(msgspec.Struct, frozen=True):
    """What is asked of a model, and how the answer is wanted."""

    request: ChatRequest
    stream: bool
    include_usage: bool
    left_out: Sequence[str]
    """The parameters that are neither read nor passed on, as many as a header may tell."""


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Read(msgspec.Struct):
    """The parameters that are understood here."""

    messages: Annotated[list[Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
    model: str | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    tools: Annotated[list[_Tool], msgspec.Meta(max_length=MAX_TOOLS)] | None = None


class _PassedOn(msgspec.Struct, omit_defaults=True):
    """The parameters that only the model understands, and that cannot make an answer dearer."""

    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    top_k: int | None = None
    min_p: float | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    stop: str | list[str] | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None


NAME = r"[a-z_]{1,40}"
MAX_LEFT_OUT = 20

KNOWN = {*_Read.__struct_fields__, *_PassedOn.__struct_fields__, *MODEST}


def from_body(
    body: bytes, settings: Settings, default_model: str, *, key: str | None = None, may_instruct: bool = False
) -> Asked:
    """Read a JSON body. Raises `RequestError`; `may_instruct` lets the caller speak for the operator."""
    given = json_object(body, '{"messages": […]}')
    _refuse_what_cannot_be_done(given)
    read = _convert(given, _Read)
    request = ChatRequest(
        messages=plain(read.messages, may_instruct=may_instruct),
        model=_model(read.model, settings, default_model),
        max_output_tokens=_max_output_tokens(read, settings),
        temperature=read.temperature,
        tools=given.get("tools") or None,
        options=msgspec.to_builtins(_convert(given, _PassedOn)),
        key=_key(key),
    )
    usage = read.stream_options is not None and bool(read.stream_options.include_usage)
    return Asked(request, stream=bool(read.stream), include_usage=usage, left_out=_left_out(given))


def _left_out(given: Mapping[str, Any]) -> list[str]:
    unread = [name for name, value in given.items() if name not in KNOWN and value is not None]
    return [name for name in unread if re.fullmatch(NAME, name)][:MAX_LEFT_OUT]


def check_model(asked: str, settings: Settings, default_model: str) -> str:
    """Raises `UnknownModel`."""
    if asked != default_model and asked not in settings.models:
        raise UnknownModel(f"The model '{asked[:100]}' does not exist, or may not be asked here.", "model")
    return asked


def _refuse_what_cannot_be_done(given: Mapping[str, Any]) -> None:
    for name, modest in MODEST.items():
        value = given.get(name)
        if value is not None and value not in modest:
            may = " or ".join(msgspec.json.encode(value).decode() for value in (None, *modest))
            raise WrongParameter(f"The parameter '{name}' may only be {may} here.", name)


def _convert(given: Mapping[str, Any], kind: type[StructT]) -> StructT:
    try:
        return msgspec.convert(given, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise _wrong(error) from error


def _wrong(error: Exception) -> WrongParameter:
    """OpenAI's clients want to know the parameter."""
    what, param = what_and_where(error)
    return WrongParameter(f"The parameter '{param}' is wrong: {what}." if param else f"{what}.", param or None)


def _model(asked: str | None, settings: Settings, default_model: str) -> str:
    return default_model if asked is None else check_model(asked, settings, default_model)


def _max_output_tokens(read: _Read, settings: Settings) -> int:
    """The least of all limits. Programs send the most that a model can; who gets less is told by `length`."""
    given = (read.max_tokens, read.max_completion_tokens, settings.max_output_tokens)
    return min(limit for limit in given if limit is not None)


def _key(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return msgspec.convert(given, Key)
    except msgspec.ValidationError as error:
        raise WrongParameter("The header 'Idempotency-Key' holds up to 128 visible ASCII characters.", None) from error
