"""docs/reference/durable_streams.md: its transcripts, and its programs for Node and for Python.

`tests/test_durable_conformance.py` writes and checks the table of cases.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llm_stream.testing import Script
from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import require
from ..node import node
from ..node import node_folder
from ..pages import Running
from ..pages import page
from . import transcripts

RUNS = {"docs/reference/durable_streams.md": ["python", "js", "console"]}

DURABLE = page("docs/reference/durable_streams.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = DURABLE.write(tmp_path_factory.mktemp("durable"))
    with (
        Upstream(lambda request: Script(("Hello",))) as upstream,
        Running(COMMAND, folder, OPENAI_BASE_URL=upstream.base_url) as server,
    ):
        yield server


def test_transcripts_are_what_curl_prints(server: Running) -> None:
    require("curl", "curl")
    transcripts.check(DURABLE, server.shell)


def test_program_for_node_follows_an_answer(server: Running) -> None:
    folder = node_folder("durable-streams", ["@durable-streams/client@0.2.7"])
    command = [str(node()), "--input-type=module", "--eval", DURABLE.files()["follow.mjs"]]
    assert followed(server, command, cwd=str(folder)) == "Hello"


def test_program_for_python_follows_an_answer(server: Running) -> None:
    pytest.importorskip("durable_streams", reason="durable-streams is missing: pip install -r requirements/dev.txt")
    assert followed(server, [sys.executable, "-c", DURABLE.files()["follow.py"]]) == "Hello"


def followed(server: Running, command: list[str], cwd: str | None = None) -> str:
    url = server.url + server.post("/llm/streams").json()["url"]
    done = subprocess.run(
        command, cwd=cwd, env=os.environ | {"STREAM_URL": url}, capture_output=True, text=True, timeout=PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
