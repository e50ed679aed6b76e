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

from ..chat_request import MAX_MESSAGES
from ..chat_request import MAX_TOOLS
from ..chat_request import ChatRequest
from ..chat_request import Key
from ..chat_request import Message
from ..errors import InvalidField
from ..errors import RequestError
from ..settings import Settings

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


class WrongParameter(InvalidField):
    """As InvalidField, with the status that OpenAI gives it, and the name of the parameter."""

    status = 400

    def __init__(self, message: str, param: str | None) -> None:
        super().__init__(message)
        self.param = param


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


class _CalledFunction(msgspec.Struct):
    name: str
    arguments: str


class _ToolCall(msgspec.Struct):
    """Without what a client may have added when it put the fragments together, their index for example."""

    id: str
    function: _CalledFunction
    type: Literal["function"] = "function"


class _Part(msgspec.Struct, omit_defaults=True):
    type: Literal["text", "image_url", "input_audio", "file", "refusal"]
    text: str | None = None
    image_url: dict[str, str] | None = None
    input_audio: dict[str, str] | None = None
    file: dict[str, str] | None = None
    refusal: str | None = None


class _Message(msgspec.Struct, omit_defaults=True):
    """Fields that are not here are left out: answers come back with some that no provider takes as a question."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[_Part] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None


class _Function(msgspec.Struct):
    name: Annotated[str, msgspec.Meta(min_length=1)]


class _Tool(msgspec.Struct):
    type: Literal["function"]
    function: _Function


class _StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class _Read(msgspec.Struct):
    """The parameters that are understood here."""

    messages: Annotated[list[_Message], msgspec.Meta(min_length=1, max_length=MAX_MESSAGES)]
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
    """Read a JSON body. Raises `RequestError`.

    `may_instruct` says whether the caller may give the model instructions, in the roles `system` and `developer`, and
    what no tool of its conversation has answered.
    """
    given = _object(body)
    _refuse_what_cannot_be_done(given)
    read = _convert(given, _Read)
    _check_messages(read.messages, may_instruct)
    request = ChatRequest(
        messages=_plain(read.messages),
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


def _object(body: bytes) -> dict[str, Any]:
    try:
        given = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError("The body is not valid JSON.") from error
    if not isinstance(given, dict):
        raise RequestError('The body must be a JSON object, like {"messages": […]}.')
    return given


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
        raise _wrong(str(error)) from error


def _wrong(reason: str) -> WrongParameter:
    """msgspec says "Expected `int`, got `str` - at `$.seed`"; OpenAI's clients want to know the parameter."""
    what, _, where = reason.partition(" - at `$")
    param = where.rstrip("`").lstrip(".")
    return WrongParameter(f"The parameter '{param}' is wrong: {what}." if param else f"{what}.", param or None)


def _check_messages(messages: Sequence[_Message], may_instruct: bool) -> None:
    called: set[str] = set()
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not may_instruct:
            _check_role(message, called, where)
        _check_content(message, where)
        if message.tool_calls and message.role != "assistant":
            field = f"{where}.tool_calls"
            raise WrongParameter(f"The field '{field}' belongs to the role 'assistant' only.", field)
        called.update(call.id for call in message.tool_calls or ())


def _check_role(message: _Message, called: set[str], where: str) -> None:
    """What a page may not say: it would speak for the operator, or for a tool that nobody has called."""
    if message.role in ("system", "developer"):
        raise WrongParameter(f"The field '{where}.role' may not be '{message.role}' in a browser.", f"{where}.role")
    if message.role == "tool" and message.tool_call_id not in called:
        field = f"{where}.tool_call_id"
        raise WrongParameter(f"The field '{field}' must name a call of an assistant's message before it.", field)


def _check_content(message: _Message, where: str) -> None:
    is_said = message.content is not None or (
        message.role == "assistant" and (message.tool_calls or message.refusal is not None)
    )
    if not is_said:
        raise WrongParameter(f"The field '{where}.content' is missing.", f"{where}.content")
    if message.role == "tool" and not message.tool_call_id:
        raise WrongParameter(f"The field '{where}.tool_call_id' is missing.", f"{where}.tool_call_id")
    for index, part in enumerate(message.content if isinstance(message.content, list) else ()):
        _check_part(part, f"{where}.content[{index}]")


def _check_part(part: _Part, where: str) -> None:
    """A part holds what its type says; files and pictures by value, or by a public address."""
    value = getattr(part, part.type)
    if value is None:
        raise WrongParameter(f"The field '{where}.{part.type}' is missing.", f"{where}.{part.type}")
    if part.type == "image_url" and not value.get("url", "").startswith(("https://", "data:image/")):
        field = f"{where}.image_url.url"
        raise WrongParameter(f"The field '{field}' must be an https: or data:image/ URL.", field)
    if part.type == "file" and "file_id" in value:  # of the operator's account, whoever has put it there
        field = f"{where}.file.file_id"
        raise WrongParameter(f"The field '{field}' cannot be used here: send the file itself, as 'file_data'.", field)


def _plain(messages: Sequence[_Message]) -> list[Message]:
    plain: list[Message] = msgspec.to_builtins(messages)
    return plain


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
