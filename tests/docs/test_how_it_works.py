"""docs/explanation/how_it_works.md: its table has each way in which a stream may end."""

from __future__ import annotations

from typing import get_args

from llm_stream.events import Status
from llm_stream.settings import Settings

from ..pages import page

RUNS: dict[str, list[str]] = {}

HOW = page("docs/explanation/how_it_works.md")


def test_table_of_endings_has_every_status() -> None:
    table = HOW.text.partition("## All endings")[2].partition("\n## ")[0]
    assert not [status for status in get_args(Status) if f"`{status}`" not in table]


def test_times_are_those_of_the_settings() -> None:
    settings = Settings()
    assert (settings.disconnect_grace_s, settings.retention_s) == (5, 600)
