"""The chat completions API. https://platform.openai.com/docs/api-reference/chat"""

from __future__ import annotations

from openai import OpenAI

from ..chat_request import ChatRequest
from ..chat_request import Message
from .api import Body
from .chunks import ChunkDecoder
from .source import Attempt


class ChatCompletions:
    path = "/chat/completions"

    def __init__(self, client: OpenAI) -> None:
        self._output_limit_name = _output_limit_name(client)

    def body_of(self, request: ChatRequest, model: str | None) -> Body:
        body: Body = {
            **request.options,
            "model": model,
            "messages": [_without_items(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            self._output_limit_name: request.max_output_tokens,
        }
        if request.temperature is not None:
            body["temperature"] = request.temperature
        if request.tools is not None:
            body["tools"] = request.tools
        return body

    def decoder(self, attempt: Attempt) -> ChunkDecoder:
        return ChunkDecoder(attempt)


def _without_items(message: Message) -> Message:
    """Remove reasoning items, which belong to the Responses API: another model may have written an earlier message."""
    if "reasoning_items" not in message:
        return message
    return {name: value for name, value in message.items() if name != "reasoning_items"}


def _output_limit_name(client: OpenAI) -> str:
    """OpenAI renamed `max_tokens`. Most compatible servers know only the old name, and would ignore the new name."""
    renamed = client.base_url.host.endswith(("openai.com", "azure.com"))
    return "max_completion_tokens" if renamed else "max_tokens"
