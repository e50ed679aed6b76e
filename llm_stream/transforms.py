"""Transforms that an app may register: `llm.transform(smooth())`."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator

import msgspec

from .core.transforms import Transform
from .errors import ConfigError
from .events import Delta
from .events import Event
from .events import Reasoning
from .events import Refusal

LONGEST_WORD = 64
"""In characters. A longer run without a word boundary, such as a line of dashes, is passed on without waiting."""

PROBES = ("a", "1", "א")
"""Characters that may follow and join two words: `can'` + `t`, `3.` + `1`, and an abbreviation in Hebrew."""

ROOT = "und"
"""ICU's root locale: Unicode's rules without changes for a language. The dictionaries are the same for all locales."""

Split = Callable[[str], list[str]]


def smooth() -> Transform:
    """A transform that passes text on in whole words, whatever pieces the provider sends. It does not change the text.

    ICU finds the words, as in a browser's `Intl.Segmenter`: by the rules of UAX #29, and by a dictionary for languages
    without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese). There is no timer: a word is held until more text
    shows where it ends. The end of the stream, or an event that is not text, releases the word.

    Raises `ConfigError` without the extra `smooth`.
    """
    split = _splitter()

    def in_words(events: Iterator[Event]) -> Iterator[Event]:
        held: Delta | Reasoning | Refusal | None = None
        for event in events:
            if held is not None and type(event) is not type(held):
                yield held
                held = None
            if not isinstance(event, (Delta, Reasoning, Refusal)):
                yield event
                continue
            text = held.text + event.text if held else event.text
            at = _end_of_whole_words(text, split)
            if at:
                yield msgspec.structs.replace(event, text=text[:at])
            held = msgspec.structs.replace(event, text=text[at:]) if at < len(text) else None
        if held is not None:
            yield held

    return in_words


def _splitter() -> Split:
    try:
        from icu4py.breakers import WordBreaker
    except ImportError as error:
        raise ConfigError("smooth() needs icu4py: pip install 'flask-llm-stream[smooth]'") from error
    return lambda text: list(WordBreaker(text, ROOT))


def _end_of_whole_words(text: str, split: Split) -> int:
    """How many characters of `text` can be passed on, because later text cannot change their words."""
    if text[-1:].isspace() and not text.endswith("\r"):  # the LF of a CRLF may follow
        return len(text)
    recent = text[-2 * LONGEST_WORD :]
    words = split(recent)
    last = words[-1] if words else ""
    held = len(last)
    if len(words) > 1 and _may_join(words[-2], last, split):
        held += len(words[-2])
    return len(text) if held > LONGEST_WORD else len(text) - held


def _may_join(word: str, last: str, split: Split) -> bool:
    """Whether later text may join `word` and `last` into one word.

    A boundary between two letters comes from a dictionary, which may move the boundary when more text follows.
    """
    if last[0].isalnum():
        return word[-1].isalpha() and last[0].isalpha()
    return any(len(split(word + last + probe)[0]) > len(word) for probe in PROBES)
