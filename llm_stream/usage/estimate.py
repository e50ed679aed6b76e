"""Estimates token counts if the provider reports none. `tokenizer.py` does the counting.

Models other than OpenAI's count 10-20 % differently for English text, so the record says `estimated`.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import msgspec

from ..events import Delta
from ..events import Event
from ..events import Reasoning
from ..events import Refusal
from ..events import ToolCall
from ..server import gevent
from . import tokenizer

# https://github.com/openai/openai-cookbook/blob/main/examples/How_to_count_tokens_with_tiktoken.ipynb
TOKENS_PER_MESSAGE = 3
TOKENS_OF_REPLY_START = 3

DIRECTLY = 2048
"""Up to so many characters are counted in the calling thread. This takes at most a millisecond."""
PIECE = 16_384


def input_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    """The input tokens of a conversation, without pictures."""
    texts = [text for message in messages for text in _texts(message)]
    return _count("".join(texts), tokenizer.count) + TOKENS_PER_MESSAGE * len(messages) + TOKENS_OF_REPLY_START


def most_input_tokens(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]] | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """An upper bound for the input tokens of a request: the tokens of the JSON that is sent."""
    text = b" ".join(map(msgspec.json.encode, filter(None, (messages, tools, options)))).decode()
    tokens = _count(text, tokenizer.most)
    return tokens + TOKENS_PER_MESSAGE * len(messages) + TOKENS_OF_REPLY_START


def is_text(messages: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all content is text. The tokens of pictures, sound and files cannot be counted."""
    contents = [message.get("content") for message in messages]
    parts = [part for content in contents if isinstance(content, (list, tuple)) for part in content]
    return all(not isinstance(part, Mapping) or part.get("type") in ("text", "refusal") for part in parts)


def output_tokens(events: Iterable[Event]) -> int:
    """The output tokens of these events, with reasoning and voided attempts."""
    return _count("".join(map(text_of, events)), tokenizer.count)


def _count(text: str, count: Callable[[str], int]) -> int:
    """Counts a long text outside the event loop: toktok takes half a second for 1 MiB of dashes.

    Each piece is a separate task, so other tasks soon get one of gevent's ten native threads.
    """
    if len(text) <= DIRECTLY:
        return count(text)
    return sum(gevent.off_loop(count, piece) for piece in pieces_of(text))


def pieces_of(text: str) -> Iterator[str]:
    """Pieces of at most `PIECE` characters, cut before a space if possible, because a word's token begins there.

    A cut at any other place may split one token into two.
    """
    at = 0
    while len(text) - at > PIECE:
        space = text.rfind(" ", at + 1, at + PIECE + 1)
        end = space if space > 0 else at + PIECE
        yield text[at:end]
        at = end
    yield text[at:]


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
