"""The Responses API. https://platform.openai.com/docs/api-reference/responses"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..chat_request import ChatRequest
from .api import Body
from .response_events import ResponseDecoder
from .response_input import choice_of
from .response_input import items_of
from .response_input import tool_of
from .source import Attempt

NO_COUNTERPART = frozenset((
    "seed", "stop", "frequency_penalty", "presence_penalty", "logit_bias", "n", "logprobs", "modalities", "audio",
    "prediction", "functions", "function_call", "web_search_options", "stream_options", "background", "store",
))  # fmt: skip
"""Options of chat completions that this API does not have, and two options that control what the provider keeps."""

NEVER_REASONING = ("gpt-3.5", "gpt-4", "chatgpt-")
"""OpenAI's models that refuse requests for encrypted reasoning."""


class Responses:
    path = "/responses"

    def body_of(self, request: ChatRequest, model: str | None) -> Body:
        """The body of a request that the provider does not keep. So it has the whole conversation, and requests
        encrypted reasoning.
        """
        body: Body = {
            **_options(request.options),
            "model": model,
            "input": items_of(request.messages),
            "stream": True,
            "store": False,
            "max_output_tokens": request.max_output_tokens,
        }
        if not (model or "").rpartition("/")[2].startswith(NEVER_REASONING):
            body["include"] = ["reasoning.encrypted_content"]
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.tools is not None:
            body["tools"] = [tool_of(tool) for tool in request.tools]
        return body

    def decoder(self, attempt: Attempt) -> ResponseDecoder:
        return ResponseDecoder(attempt)


def _options(options: Mapping[str, Any]) -> Body:
    """Renames chat completions' options to the names of this API. The values do not change, except for the format."""
    body = {name: value for name, value in options.items() if name not in NO_COUNTERPART}
    effort, verbosity = body.pop("reasoning_effort", None), body.pop("verbosity", None)
    text: Body = {"verbosity": verbosity} if verbosity is not None else {}
    if (format := body.pop("response_format", None)) is not None:
        text["format"] = _format_of(format)
    if text:
        body["text"] = text
    if effort is not None:
        body["reasoning"] = {"effort": effort, "summary": "auto"}
    if "tool_choice" in body:
        body["tool_choice"] = choice_of(body["tool_choice"])
    return body


def _format_of(format: Mapping[str, Any]) -> Body:
    """Converts the format. In chat completions, a nested object has the schema and its name. This API has no such
    object.
    """
    schema = format.get("json_schema")
    return {"type": "json_schema", **schema} if isinstance(schema, Mapping) else dict(format)
