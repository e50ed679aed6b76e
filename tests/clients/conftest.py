"""One server and one scripted upstream for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm_stream.testing import Upstream

from ..conftest import Server
from ..conftest import eventually


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("server")
    server = Server(upstream, folder, models=["other"], retries=0, disconnect_grace_s=0.5, heartbeat_s=0.2)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture(autouse=True)
def upstream_starts_afresh(upstream: Upstream) -> Iterator[None]:
    upstream.requests.clear()
    yield
    eventually(lambda: upstream.open == 0, "the end of every upstream request")
    assert not upstream._scripts, "a script was not asked for"
