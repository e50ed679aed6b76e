"""Reads and refuses parameters for both of OpenAI's APIs, chat completions and Responses."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Annotated
from typing import Any
from typing import TypeVar

import msgspec

from ..chat_request import Key
from ..errors.validation import split_message
from ..settings import Settings
from . import WrongParameter

StructT = TypeVar("StructT", bound=msgspec.Struct)

Count = Annotated[int, msgspec.Meta(ge=1)]

NAME = r"[a-z_]{1,40}"
MAX_LEFT_OUT = 20


class UnknownModel(WrongParameter):
    """The model is neither the default nor in LLM_STREAM_MODELS."""

    status = 404
    code = "model_not_found"


def left_out(fields: Mapping[str, Any], known: Collection[str]) -> list[str]:
    """The parameters that are ignored."""
    ignored = [name for name, value in fields.items() if name not in known and value is not None]
    return [name for name in ignored if re.fullmatch(NAME, name)][:MAX_LEFT_OUT]


def check_model(name: str, settings: Settings, default_model: str) -> str:
    """Raises `UnknownModel`."""
    if name != default_model and name not in settings.models:
        raise UnknownModel(f"The model '{name[:100]}' does not exist, or you are not allowed to use it.", "model")
    return name


def refuse_unsupported(fields: Mapping[str, Any], unsupported: Mapping[str, Sequence[Any]]) -> None:
    """`unsupported` has the accepted values of each parameter; null is always accepted. Raises `WrongParameter`."""
    for name, accepted in unsupported.items():
        value = fields.get(name)
        if value is not None and value not in accepted:
            allowed = " or ".join(msgspec.json.encode(value).decode() for value in (None, *accepted))
            raise WrongParameter(f"This server supports only {allowed} for the parameter '{name}'.", name)


def convert(fields: Mapping[str, Any], kind: type[StructT]) -> StructT:
    try:
        return msgspec.convert(fields, kind)
    except (msgspec.ValidationError, RecursionError) as error:
        problem, param = split_message(error)
        message = f"The parameter '{param}' is wrong: {problem}." if param else f"{problem}."
        raise WrongParameter(message, param or None) from error


def key_of(header: str | None) -> str | None:
    if header is None:
        return None
    try:
        return msgspec.convert(header, Key)
    except msgspec.ValidationError as error:
        raise WrongParameter("The header 'Idempotency-Key' must be 1 to 128 visible ASCII characters.", None) from error
