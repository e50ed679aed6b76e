"""docs/reference/responses.md and openapi.md: the page's client resumes a response, and the description is served.

`tests/test_open_responses.py` and `tests/clients/test_responses_*.py` test the rest of the API.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from llm_stream.testing import Script
from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import missing
from ..conftest import require
from ..pages import Running
from ..pages import page
from ..programs import PYTHON
from ..programs import READY
from . import transcripts

RUNS = {"docs/reference/responses.md": ["python"], "docs/reference/openapi.md": ["console"]}

RESPONSES = page("docs/reference/responses.md")
OPENAPI = page("docs/reference/openapi.md")
COMMAND = "gunicorn --worker-class gevent --bind 127.0.0.1:8000 app:app"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(lambda request: Script(("Hello", " there"))) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = RESPONSES.write(tmp_path_factory.mktemp("responses"))
    with Running(COMMAND, folder, OPENAI_BASE_URL=upstream.base_url) as server:
        yield server


def test_client_gets_the_rest_of_a_response(server: Running, upstream: Upstream) -> None:
    program = RESPONSES.files()["client.py"].replace("http://127.0.0.1:8000", server.url)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.stdout == "Hello there", done.stderr
    assert len(upstream.requests) == 1


def test_agent_knows_the_servers_tools() -> None:
    if not READY.exists():
        missing("the clients are missing: make .venv-clients/ready")
    program = RESPONSES.files()["agent.py"] + "print(agent.tools[0].tool_config['server_label'])"
    done = subprocess.run([str(PYTHON), "-c", program], capture_output=True, text=True, timeout=2 * PATIENCE_S)
    assert done.stdout == "llm_stream\n", done.stderr


def test_description_is_served(server: Running) -> None:
    require("curl", "curl")
    transcripts.check(OPENAPI, server.shell)
