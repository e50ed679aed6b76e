"""The pages of examples/: what they show of a file is in the file."""

from __future__ import annotations

from ..conftest import ROOT
from ..pages import page

RUNS = {"examples/use_chat/README.md": ["jsx"]}


def test_excerpt_of_the_react_chat_is_in_its_file() -> None:
    chat = (ROOT / "examples/use_chat/Chat.jsx").read_text()
    for line in page("examples/use_chat/README.md").block("jsx").splitlines():
        assert line in chat
