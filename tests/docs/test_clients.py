"""docs/guides/clients.md: each client's program runs against the page's app, and the table has what the tests have."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_stream.testing import Script
from llm_stream.testing import Upstream

from ..clients.test_structured_node import PACKAGES
from ..conftest import PATIENCE_S
from ..conftest import ROOT
from ..conftest import eventually
from ..conftest import missing
from ..conftest import require
from ..node import node
from ..node import node_folder
from ..pages import Running
from ..pages import page as page_of
from ..programs import ENVIRONMENT
from ..programs import PYTHON
from ..programs import READY
from . import transcripts

RUNS = {"docs/guides/clients.md": ["python", "js", "console"]}

CLIENTS = page_of("docs/guides/clients.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"
PRICES = '{"gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}'

NODE_PACKAGES = {
    "openai_node.mjs": ("openai", ["openai@7.57.0"]),
    "ai_sdk.mjs": ("structured", PACKAGES),
    "ag_ui.mjs": ("ag-ui", ["@ag-ui/client@1.0.0"]),
}

FETCHING = """<!doctype html><meta charset="utf-8">
<script type="importmap">{"imports": {"@microsoft/fetch-event-source": "/fetch-event-source/index"}}</script>
<body><script type="module" src="/fetch_event_source.js"></script>"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = CLIENTS.write(tmp_path_factory.mktemp("clients"))
    with (
        Upstream(lambda request: Script(("Hello",))) as upstream,
        Running(COMMAND, folder, OPENAI_BASE_URL=upstream.base_url, LLM_STREAM_PRICES=PRICES) as server,
    ):
        yield server


def source_of(file: str, server: Running) -> str:
    return CLIENTS.files()[file].replace("http://127.0.0.1:8000", server.url)


def printed(command: list[str], folder: Path) -> str:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    done = subprocess.run(
        command, cwd=folder, env=ours | ENVIRONMENT, capture_output=True, text=True, timeout=2 * PATIENCE_S
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("file", ["openai_chat.py", "openai_responses.py", "httpx_sse_chat.py"])
def test_program_prints_the_answer(file: str, server: Running, tmp_path: Path) -> None:
    assert printed([sys.executable, "-c", source_of(file, server)], tmp_path) == "Hello"


@pytest.mark.parametrize(
    "file",
    ["agents_sdk.py", "langchain_chat.py", "litellm_chat.py", "pydantic_ai_agent.py", "smolagents_model.py"],
)
def test_framework_prints_the_answer(file: str, server: Running, tmp_path: Path) -> None:
    if not READY.exists():
        missing("the clients are missing: make .venv-clients/ready")
    assert printed([str(PYTHON), "-c", source_of(file, server)], tmp_path) == "Hello"


@pytest.mark.parametrize("file", NODE_PACKAGES)
def test_program_for_node_prints_the_answer(file: str, server: Running) -> None:
    folder = node_folder(*NODE_PACKAGES[file])
    command = [str(node()), "--input-type=module", "--eval", source_of(file, server)]
    assert printed(command, folder) == "Hello"


@pytest.mark.browser
def test_fetch_event_source_shows_the_answer(server: Running, page: Any) -> None:
    packages = node_folder("fetch-event-source", ["@microsoft/fetch-event-source@2.0.1"]) / "node_modules"
    package = packages / "@microsoft/fetch-event-source/lib/esm"

    def module(route: Any) -> None:
        name = route.request.url.rpartition("/")[2]
        route.fulfill(body=(package / f"{name}.js").read_text(), content_type="text/javascript")

    page.route("**/fetch-event-source/*", module)
    script = CLIENTS.files()["fetch_event_source.js"]
    page.route("**/fetch_event_source.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.route("**/", lambda route: route.fulfill(body=FETCHING, content_type="text/html"))
    page.goto(f"{server.url}/")
    eventually(lambda: page.text_content("body").strip() == "Hello", "the answer")


def test_curl_prints_the_bytes_that_the_page_shows(server: Running) -> None:
    require("curl", "curl")
    transcripts.check(CLIENTS, server.shell)


def test_key_of_nobody_is_refused(server: Running) -> None:
    assert server.get("/llm/v1/models", Authorization="Bearer secret-of-ann").status_code == 200
    assert server.get("/llm/v1/models", Authorization="Bearer wrong").status_code == 401
    assert server.get("/llm/v1/models").status_code == 401


def test_every_file_of_the_page_runs() -> None:
    run = re.findall(r"\w+\.(?:py|mjs|js)\b", Path(__file__).read_text())
    assert CLIENTS.files().keys() <= {*run, "app.py"}


def test_every_cell_of_the_table_of_clients_is_a_test() -> None:
    (table,) = re.findall(r"^\| client \| (text .*?)\n\n", CLIENTS.text, re.MULTILINE | re.DOTALL)
    head, _, *rows = table.splitlines()
    features = [name.strip() for name in head.split("|") if name.strip()]
    assert len(rows) == 17
    for row in rows:
        client, *cells = row.strip().strip("|").split("|")
        tests = "".join((ROOT / file).read_text() for file in re.findall(r"\(\.\./\.\./(tests/[^)]*)\)", client))
        tested = [feature for feature in features if f"def test_{feature.replace(' ', '_')}_" in tests]
        ticked = [feature for feature, cell in zip(features, cells, strict=True) if "✓" in cell]
        assert ticked == tested, client
