"""Counts tokens with toktok or tiktoken: the first library that is installed and has its vocabulary.

Both libraries give the same counts, with OpenAI's vocabulary o200k_base. toktok includes the vocabulary. tiktoken reads
it from a file, which this library never downloads.

Without such a library, the number of characters gives an estimate. Measured with o200k_base on short answers:

            bytes per token   characters per token   estimate / count
English           4.5                 4.5                1.13
German            4.3                 4.2                1.05
Russian           6.8                 3.7                0.92
Hindi             8.9                 3.5                0.87
Chinese           4.2                 1.4                1.04
Japanese          3.5                 1.2                0.87
Python, JS        3.7                 3.7                0.93
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import ceil
from pathlib import Path

logger = logging.getLogger("llm_stream")

ENCODING = "o200k_base"
VOCABULARY_URL = f"https://openaipublic.blob.core.windows.net/encodings/{ENCODING}.tiktoken"
VOCABULARY_SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
CHARACTERS_PER_TOKEN = 4
TOKENS_PER_WIDE_CHARACTER = 0.75
WIDE = re.compile("[\u2e80-\U0010ffff]+")
"""Chinese, Japanese, Korean, and emoji."""

Count = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Tokenizer:
    name: str
    count: Count
    most: Count
    """Gives an upper bound, for counts that must not be too low."""

    is_exact: bool = True

    def __str__(self) -> str:
        if self.is_exact:
            return f"Tokens are counted by {self.name}."
        return (
            "Tokens are estimated from the text's length, and budgets reserve one token per byte."
            " For exact counts: pip install toktok-rs"
        )


def count(text: str) -> int:
    """The tokens of a text, or an estimate of them."""
    return serving().count(_encodable(text))


def most(text: str) -> int:
    """The tokens of a text, or an upper bound of them."""
    return serving().most(_encodable(text))


@cache
def serving() -> Tokenizer:
    """The tokenizer of this process. The first call loads the vocabulary in about 0.5 s, and logs its name."""
    for name, load in (("toktok", _toktok), ("tiktoken", _tiktoken)):
        if counts := _works(name, load):
            tokenizer = Tokenizer(name, counts, counts)
            logger.info("%s", tokenizer)
            return tokenizer
    tokenizer = Tokenizer("the text's length", _estimate, _bytes, is_exact=False)
    logger.warning("%s", tokenizer)
    return tokenizer


def _works(name: str, load: Callable[[], Count | None]) -> Count | None:
    """The library's counting function; None if it does not work. A new version of a library must not break answers."""
    try:
        counts = load()
        if counts is None or counts("hello world") == 2:
            return counts
        logger.warning("%s is not used: it counts tokens differently than expected. Install another version.", name)
    except ImportError:
        pass
    except Exception:
        logger.warning("%s is not used, because it raised an error", name, exc_info=True)
    return None


def _toktok() -> Count:
    import toktok

    def counts(text: str) -> int:
        (tokens,) = toktok.batch_count([text], ENCODING, threads=1)
        return int(tokens)

    return counts


def _tiktoken() -> Count | None:
    import tiktoken

    if not _is_here(_vocabulary_of_tiktoken()):
        logger.warning(
            "tiktoken is not used: it would download its vocabulary. Set TIKTOKEN_CACHE_DIR to a folder that has it."
        )
        return None
    encoding = tiktoken.get_encoding(ENCODING)
    return lambda text: len(encoding.encode_ordinary(text))


def _vocabulary_of_tiktoken() -> Path | None:
    """Where tiktoken looks for its vocabulary before it downloads it."""
    for name in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if name in os.environ:
            folder = os.environ[name]
            break
    else:
        folder = os.path.join(tempfile.gettempdir(), "data-gym-cache")
    return Path(folder, hashlib.sha1(VOCABULARY_URL.encode()).hexdigest()) if folder else None


def _is_here(vocabulary: Path | None) -> bool:
    """Whether the file exists and is undamaged: tiktoken would download a damaged file again."""
    if vocabulary is None or not vocabulary.is_file():
        return False
    return hashlib.sha256(vocabulary.read_bytes()).hexdigest() == VOCABULARY_SHA256


def _estimate(text: str) -> int:
    narrow = len(text if text.isascii() else WIDE.sub("", text))
    return ceil(narrow / CHARACTERS_PER_TOKEN + TOKENS_PER_WIDE_CHARACTER * (len(text) - narrow))


def _bytes(text: str) -> int:
    """A token has at least one byte."""
    return len(text.encode())


def _encodable(text: str) -> str:
    """Replaces half a surrogate pair, which UTF-8 cannot encode, by a question mark."""
    return text.encode(errors="replace").decode()
