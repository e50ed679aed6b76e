"""Reads the body of OpenAI's `POST /responses`. Errors name the parameter.

https://platform.openai.com/docs/api-reference/responses/create
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import Literal

import msgspec

from ..chat_request import ChatRequest
from ..chat_request import Message
from ..errors import InvalidField
from ..settings import Settings
from . import WrongParameter
from .native import MAX_MESSAGES
from .native import MAX_TOOLS
from .parameters import Count
from .parameters import check_model
from .parameters import convert
from .parameters import key_of
from .parameters import left_out
from .parameters import refuse_unsupported
from .reading import json_object
from .response_format import ResponseFormat
from .response_format import options_of
from .response_input import Conversation
from .response_input import Find

UNSUPPORTED: dict[str, Sequence[Any]] = {
    "conversation": (),
    "prompt": (),
    "max_tool_calls": (),
    "top_logprobs": (0,),
    "truncation": ("disabled",),
    "context_management": (),
}
"""Unsupported parameters, with the values that have no effect. These values and null are accepted."""

NO_LOGPROBS = "message.output_text.logprobs"


class Earlier(msgspec.Struct, frozen=True):
    """A kept response: the conversation before it, and its output."""

    messages: Sequence[Message]
    output: Sequence[Mapping[str, Any]]


FindResponse = Callable[[str], Earlier]
"""Raises `UnknownResponse`."""


class UnknownResponse(WrongParameter):
    """There is no response with this id that can be continued."""

    code = "previous_response_not_found"


class ResponseRequest(msgspec.Struct, frozen=True):
    request: ChatRequest
    stream: bool
    background: bool
    store: bool
    asked: dict[str, Any]
    """The fields of the response that repeat the request."""
    messages: Sequence[Message]
    """The conversation without the instructions, which the next request sends again."""
    left_out: Sequence[str]


class _Tool(msgspec.Struct, tag_field="type", tag="function"):
    name: Annotated[str, msgspec.Meta(min_length=1)]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class _ServersTools(msgspec.Struct, tag_field="type", tag="mcp"):
    """Names the tools that run on this server, which are offered in any case.

    Some clients accept approvals only for a server that the request names.
    """

    server_label: Literal["llm_stream"]


class _Text(msgspec.Struct):
    format: dict[str, Any] | None = None
    verbosity: str | None = None


class _Reasoning(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None


class _Used(msgspec.Struct):
    input: str | list[dict[str, Any]] = []
    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    background: bool | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    tools: Annotated[list[_Tool | _ServersTools], msgspec.Meta(max_length=MAX_TOOLS)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    text: _Text | None = None
    reasoning: _Reasoning | None = None
    metadata: Annotated[dict[str, str], msgspec.Meta(max_length=16)] | None = None
    include: list[str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    stream_options: dict[str, Any] | None = None


BODY = _Used


def from_body(
    body: bytes,
    settings: Settings,
    default_model: str,
    *,
    find: Find,
    find_response: FindResponse,
    key: str | None = None,
    may_instruct: bool = False,
) -> ResponseRequest:
    """Read a JSON body. `may_instruct` allows instructions and system messages. Raises `RequestError`."""
    fields = json_object(body, '{"input": "…"}')
    refuse_unsupported(fields, UNSUPPORTED)
    parsed = convert(fields, _Used)
    _check(parsed, may_instruct=may_instruct)
    conversation = _conversation(parsed, find, find_response, may_instruct=may_instruct)
    messages, approvals = conversation.messages()
    instructions = [{"role": "system", "content": parsed.instructions}] if parsed.instructions else []
    request = ChatRequest(
        messages=[*instructions, *messages],
        model=default_model if parsed.model is None else check_model(parsed.model, settings, default_model),
        max_output_tokens=min(parsed.max_output_tokens or settings.max_output_tokens, settings.max_output_tokens),
        temperature=parsed.temperature,
        tools=[_chat_tool(tool) for tool in parsed.tools or () if isinstance(tool, _Tool)] or None,
        options=_options(parsed),
        key=key_of(key),
        approvals=approvals,
    )
    return ResponseRequest(
        request,
        stream=bool(parsed.stream),
        background=bool(parsed.background),
        store=parsed.store is not False,
        asked=_asked(parsed),
        messages=messages,
        left_out=left_out(fields, {*_Used.__struct_fields__, *UNSUPPORTED}),
    )


def _check(parsed: _Used, *, may_instruct: bool) -> None:
    if parsed.input == "":
        raise WrongParameter("The parameter 'input' is empty.", "input")
    if parsed.instructions and not may_instruct:
        raise WrongParameter("The parameter 'instructions' cannot be used in a browser.", "instructions")
    if parsed.background and parsed.store is False:
        raise WrongParameter(
            "The parameter 'background' needs 'store': true, so that the answer can be fetched later.", "background"
        )
    if NO_LOGPROBS in (parsed.include or ()):
        raise WrongParameter(f"The parameter 'include' does not support '{NO_LOGPROBS}'.", "include")


def _conversation(parsed: _Used, find: Find, find_response: FindResponse, *, may_instruct: bool) -> Conversation:
    earlier = find_response(parsed.previous_response_id) if parsed.previous_response_id else Earlier([], [])
    conversation = Conversation(earlier.messages, find, may_instruct=may_instruct)
    for item in earlier.output:
        conversation.add(item, "previous_response_id")
    items = [{"role": "user", "content": parsed.input}] if isinstance(parsed.input, str) else parsed.input
    if len(items) + len(earlier.messages) > MAX_MESSAGES:
        raise WrongParameter(f"The parameter 'input' must have at most {MAX_MESSAGES} items.", "input")
    for index, item in enumerate(items):
        conversation.add(item, f"input[{index}]")
    return conversation


def _chat_tool(tool: _Tool) -> dict[str, Any]:
    function = {
        name: value for name, value in msgspec.to_builtins(tool).items() if name != "type" and value is not None
    }
    return {"type": "function", "function": function}


def _options(parsed: _Used) -> dict[str, Any]:
    """The options under their names in the chat completions API."""
    text, reasoning = parsed.text or _Text(), parsed.reasoning or _Reasoning()
    options = {
        "top_p": parsed.top_p,
        "tool_choice": _tool_choice(parsed.tool_choice),
        "parallel_tool_calls": parsed.parallel_tool_calls,
        "reasoning_effort": reasoning.effort,
        "verbosity": text.verbosity,
        "user": parsed.user,
        "safety_identifier": parsed.safety_identifier,
        "prompt_cache_key": parsed.prompt_cache_key,
    }
    return {name: value for name, value in options.items() if value is not None} | _format(text.format)


def _tool_choice(choice: str | dict[str, Any] | None) -> Any:
    if not isinstance(choice, dict):
        return choice
    if choice.get("type") != "function" or not isinstance(choice.get("name"), str):
        raise WrongParameter("The parameter 'tool_choice' must be a word such as 'auto', or a function.", "tool_choice")
    return {"type": "function", "function": {"name": choice["name"]}}


def _format(format: dict[str, Any] | None) -> dict[str, Any]:
    """Converts `text.format` to `response_format`, which has the same values in a nested object."""
    if format is None:
        return {}
    kind, rest = format.get("type"), {name: value for name, value in format.items() if name != "type"}
    nested = {"type": kind, "json_schema": rest} if kind == "json_schema" else format
    try:
        return options_of(msgspec.convert(nested, ResponseFormat))
    except (msgspec.ValidationError, RecursionError) as error:
        raise WrongParameter(
            f"The parameter 'text.format' is wrong: {str(error).partition(' - ')[0]}.", "text.format"
        ) from error
    except InvalidField as error:
        raise WrongParameter(str(error), "text.format") from error


def _asked(parsed: _Used) -> dict[str, Any]:
    """All fields that the specification requires; null only where it allows that."""
    text, reasoning = parsed.text or _Text(), parsed.reasoning
    format = text.format or {"type": "text"}
    if format.get("type") == "json_schema":
        format = {"description": None, "schema": None} | format | {"strict": bool(format.get("strict"))}
    return {
        "instructions": parsed.instructions,
        "previous_response_id": parsed.previous_response_id,
        "tools": msgspec.to_builtins(parsed.tools or []),
        "tool_choice": parsed.tool_choice if parsed.tool_choice is not None else "auto",
        "parallel_tool_calls": parsed.parallel_tool_calls is not False,
        "text": {"format": format} | ({"verbosity": text.verbosity} if text.verbosity else {}),
        "reasoning": msgspec.to_builtins(reasoning) if reasoning else None,
        "temperature": 1.0 if parsed.temperature is None else parsed.temperature,
        "top_p": 1.0 if parsed.top_p is None else parsed.top_p,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "top_logprobs": 0,
        "max_output_tokens": parsed.max_output_tokens,
        "max_tool_calls": None,
        "truncation": "disabled",
        "store": parsed.store is not False,
        "background": bool(parsed.background),
        "service_tier": "default",
        "metadata": parsed.metadata or {},
        "user": parsed.user,
        "safety_identifier": parsed.safety_identifier,
        "prompt_cache_key": parsed.prompt_cache_key,
    }
