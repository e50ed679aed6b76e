"""Estimated token counts, for when the provider reports none. `tokenizer.py` counts them.

Models other than OpenAI's count 10-20 % differently for English text, so the record says `estimated`.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Delta
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from ..events import ToolCall
from . import tokenizer

# https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb
TOKENS_PER_MESSAGE = 3
TOKENS_OF_REPLY_START = 3


def input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The input tokens of a conversation, without pictures."""
    texts = [text for message in messages for text in _texts(message)]
    return tokenizer.count("".join(texts)) + TOKENS_PER_MESSAGE * len(messages) + TOKENS_OF_REPLY_START


def most_input_tokens(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """An upper bound for the input tokens of a request: it counts the JSON that is sent."""
    tokens = tokenizer.most(b" ".join(map(msgspec.json.encode, filter(None, (messages, tools, options)))).decode())
    return tokens + TOKENS_PER_MESSAGE * len(messages) + TOKENS_OF_REPLY_START


def is_text(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all content is text: the tokens of pictures, sound and files cannot be counted."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    return all(not isinstance(part, Mapping) or part.get("type") in ("text", "refusal") for part in parts)


def output_tokens(events: Iterable[Event]) -> int:
    """The output tokens of these events, with reasoning and voided attempts."""
    return tokenizer.count("".join(map(text_of, events)))


def _texts(message: Mapping[str, Any]) -> Iterable[str]:
    yield str(message.get("role", ""))
    content = message.get("content")
    if isinstance(content, str):
        yield content
    elif isinstance(content, Sequence):
        yield from (str(part.get("text") or "") for part in content if isinstance(part, Mapping))
    if calls := message.get("tool_calls"):
        yield str(calls)


def text_of(event: Event) -> str:
    if isinstance(event, (Delta, Reasoning, Refusal)):
        return event.text
    if isinstance(event, ToolCall):
        return (event.name or "") + event.arguments
    return ""
