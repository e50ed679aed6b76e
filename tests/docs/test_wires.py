"""docs/reference/wires.md: every transcript of the page, by curl."""

from __future__ import annotations

from pathlib import Path

from llm_stream.testing import Script
from llm_stream.testing import Upstream

from ..conftest import require
from ..pages import Running
from ..pages import page
from . import transcripts

RUNS = {"docs/reference/wires.md": ["python", "console"]}

WIRES = page("docs/reference/wires.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"


def test_bytes_of_each_wire_are_those_that_the_page_shows(tmp_path: Path) -> None:
    require("curl", "curl")
    with (
        Upstream(lambda request: Script(("Hello",))) as upstream,
        Running(COMMAND, WIRES.write(tmp_path), OPENAI_BASE_URL=upstream.base_url) as server,
    ):
        transcripts.check(WIRES, server.shell)
