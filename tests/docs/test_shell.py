"""Commands that install, build or test: they need a network or take long, so their parts are checked, not run."""

from __future__ import annotations

import re
import tomllib

import pytest

from ..conftest import ROOT
from ..pages import Page
from ..pages import every_page

PAGES = [page for page in every_page() if any(block.language == "bash" for block in page.blocks)]
RUNS = {str(page): ["bash"] for page in PAGES}

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = set(re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
FAMILIES = re.findall(r"^([\w./-]*)%([\w./-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def commands(page: Page) -> list[str]:
    """Without comments and prompts; a line that ends with a backslash goes on."""
    text = "".join(block.text for block in page.blocks if block.language == "bash").replace("\\\n", " ")
    lines = [re.sub(r"(^|\s)#.*", "", line).removeprefix("$ ").strip() for line in text.splitlines()]
    return [line for line in lines if line]


def is_target(name: str) -> bool:
    return name in TARGETS or any(name.startswith(begin) and name.endswith(end) for begin, end in FAMILIES)


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_commands_name_what_there_is(page: Page) -> None:
    for command in commands(page):
        for extras in re.findall(r"(?:flask-llm-stream|\.)\[([\w,]+)\]", command):
            assert set(extras.split(",")) <= PROJECT["optional-dependencies"].keys(), command
        for arguments in re.findall(r"\bmake ([^;&|]*)", command):
            targets = [word for word in arguments.split() if "=" not in word]
            assert all(map(is_target, targets)), command
        for path in re.findall(r"(?:^|\s)(?:python3?|sh|bash) (?!-)([\w./-]+)", command):
            assert (ROOT / path).exists(), command
