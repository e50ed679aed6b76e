"""Transcripts of a shell, and what varies in them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator

from ..conftest import ROOT
from ..pages import Page

VARIES = (
    (r"\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d", "some days"),
    (r"\d{4}-\d\d-\d\d", "a day"),
    (r"\b[0-9a-f]{20}\b", "stream"),
    (r'"error_id":"[0-9a-f]+"', "error_id"),
    (r"\b[\d.,]+ (ms|s)\b", "some time"),
    (r" +", " "),
)


def commands_of(page: Page) -> Iterator[tuple[str, str]]:
    """Each command of the page's transcripts, and what the page says that it prints."""
    for block in page.blocks_of("console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            yield command, shown


def without_what_varies(text: str) -> str:
    """Without days, ids, times, and the width of columns."""
    for pattern, word in VARIES:
        text = re.sub(pattern, word, text)
    return text.strip()


def extras_that_are_missing(page: Page) -> set[str]:
    """Extras of the page's install lines that the package does not have."""
    extras: set[str] = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    named = re.findall(r"flask-llm-stream\[([\w,]+)\]", page.text)
    return {extra for extras in named for extra in extras.split(",")} - extras
