"""Parses an item of the Responses API, and converts its content to the content of a message."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Literal

import msgspec

from . import WrongParameter
from .reading import is_image_url


class Part(msgspec.Struct):
    type: Literal[
        "input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal", "input_image", "input_file"
    ]
    text: str | None = None
    refusal: str | None = None
    image_url: str | None = None
    detail: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    filename: str | None = None
    file_id: str | None = None


class Item(msgspec.Struct):
    """An item of any type. Clients send items of earlier responses back whole, so unknown fields are ignored."""

    type: str = "message"
    role: Literal["system", "developer", "user", "assistant"] | None = None
    content: str | list[Part] | None = None
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    output: str | list[Part] | None = None
    error: Any = None
    encrypted_content: str | None = None
    approval_request_id: str | None = None
    approve: bool | None = None
    reason: str | None = None


def converted(fields: Mapping[str, Any], where: str) -> Item:
    try:
        return msgspec.convert(fields, Item)
    except (msgspec.ValidationError, RecursionError) as error:
        problem, _, field = str(error).partition(" - at `$")
        name = where + field.rstrip("`")
        raise WrongParameter(f"The field '{name}' is wrong: {problem}.", name) from error


def of_assistant(content: str | list[Part]) -> dict[str, Any]:
    if isinstance(content, str):
        return {"content": content}
    text = "".join(part.text or "" for part in content if part.type in ("output_text", "input_text", "text"))
    refusal = "".join(part.refusal or "" for part in content if part.type == "refusal")
    return {"content": text or None} | ({"refusal": refusal} if refusal else {})


def content_of(content: str | list[Part], where: str) -> str | list[dict[str, Any]]:
    if isinstance(content, str):
        return content
    return [_part(part, f"{where}[{index}]") for index, part in enumerate(content)]


def _part(part: Part, where: str) -> dict[str, Any]:
    """Images and files must be inline or at a public URL."""
    if part.file_id is not None:  # any file of the operator's account
        raise WrongParameter(f"The field '{where}.file_id' is not supported: send the file itself.", f"{where}.file_id")
    if part.type == "input_image":
        if not is_image_url(part.image_url):
            field = f"{where}.image_url"
            raise WrongParameter(f"The field '{field}' must be an https: or data:image/ URL.", field)
        image = {"url": part.image_url} | ({"detail": part.detail} if part.detail else {})
        return {"type": "image_url", "image_url": image}
    if part.type == "input_file":
        if part.file_data is None:
            raise WrongParameter(f"The field '{where}.file_data' is missing.", f"{where}.file_data")
        file = {"file_data": part.file_data} | ({"filename": part.filename} if part.filename else {})
        return {"type": "file", "file": file}
    if part.type not in ("input_text", "output_text", "text") or part.text is None:
        raise WrongParameter(f"The field '{where}' must be a text, an image or a file.", where)
    return {"type": "text", "text": part.text}


def error_of(error: Any) -> str:
    """The message of a call's error, which is a text or one of OpenAI's error objects."""
    if isinstance(error, str):
        return error
    fields = error if isinstance(error, Mapping) else {}
    content = fields.get("content")
    parts = content if isinstance(content, list) else []
    text = "".join(part["text"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("text"), str))
    return text or str(fields.get("message") or "The tool failed.")
