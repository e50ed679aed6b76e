"""A response that the host app never sends: nobody reads its stream, so it ends within the grace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import GUNICORN
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually

HOSTED = [*GUNICORN[:-1], "tests.unsent:app"]
GRACE_S = 1.0


@pytest.fixture(scope="module", params=["", "yes"], ids=["flasks_response", "own_response_class"])
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Upstream() as upstream:
        folder = tmp_path_factory.mktemp("host")
        server = Server(upstream, folder, HOSTED, disconnect_grace_s=GRACE_S, OWN_RESPONSE_CLASS=request.param)
        yield server
        server.stop()


def ask(host: Server, path: str, *, method: str = "GET", headers: str = "") -> Connection:
    """On a connection that stays open: only the response can tell the server that nobody reads."""
    return Connection(host.port, f"{method} {path} HTTP/1.1\nHost: 127.0.0.1:{host.port}\n{headers}\n")


def abandoned(host: Server) -> None:
    """There is one record, and the upstream's connection is closed."""
    assert host.upstream is not None
    assert host.upstream.request(0).left.wait(SOON_S)
    (record,) = eventually(host.records, "the record")
    assert (record["status"], record["source"]) == ("abandoned", "estimated")
    eventually(host.at_rest)


@pytest.mark.parametrize("prefix", ["/llm/chat", "/view"])
@pytest.mark.parametrize(
    "treatment",
    ["replace", "replace_by_file", "replace_body", "raise", "204", "304", "close_early", "drop"],
)
def test_response_that_is_not_sent_counts_as_a_reader_that_has_gone(host: Server, prefix: str, treatment: str) -> None:
    assert host.upstream is not None
    host.clear()
    host.upstream.answer("Hello", Stall())
    client = ask(host, f"{prefix}?prompt=hi&treat={treatment}")
    client.read_until("\r\n\r\n")
    abandoned(host)


@pytest.mark.parametrize("view", ["/view-that-fails", "/view-that-forgets"])
def test_view_that_answers_something_else_leaves_no_upstream_running(host: Server, view: str) -> None:
    assert host.upstream is not None
    host.clear()
    host.upstream.answer("Hello", Stall())
    ask(host, view).read_until("\r\n\r\n")
    abandoned(host)


def test_finished_answer_of_a_post_that_is_not_sent_is_not_kept_running(host: Server) -> None:
    """The status was held until the first token came, and then a hook replaced the response."""
    assert host.upstream is not None
    host.clear()
    host.upstream.answer("Hello", Stall())
    headers = "Content-Type: application/json\nContent-Length: 16\n"
    client = Connection(
        host.port,
        f'POST /llm/chat?treat=replace HTTP/1.1\nHost: 127.0.0.1:{host.port}\n{headers}\n{{"prompt": "hi"}}',
    )
    client.read_until("\r\n\r\nanother")
    abandoned(host)


@pytest.mark.parametrize("treatment", ["get_data", "etag"])
def test_hook_that_wants_the_whole_body_gets_it(host: Server, treatment: str) -> None:
    assert host.upstream is not None
    host.clear()
    before = host.log.count("Traceback")
    host.upstream.answer("Hello ", "world")
    answer = host.get(f"/view?prompt=hi&treat={treatment}")
    assert answer.status_code == 200 and answer.text.count("event: done") == 1
    assert '"Hello "' in answer.text and '"world"' in answer.text
    assert answer.headers.get("X-Length", str(len(answer.content))) == str(len(answer.content))
    assert [record["status"] for record in host.records()] == ["completed"]
    assert host.log.count("Traceback") == before


def test_client_that_goes_while_a_hook_waits_for_the_whole_body_is_noticed(host: Server) -> None:
    assert host.upstream is not None
    host.clear()
    before = host.log.count("Traceback")
    host.upstream.answer("Hello", Stall())
    client = ask(host, "/view?prompt=hi&treat=get_data")
    host.upstream.request(0)
    client.close()
    abandoned(host)
    assert host.log.count("Traceback") == before


def test_head_of_a_running_stream_is_no_reader(host: Server) -> None:
    assert host.upstream is not None
    host.clear()
    gate = Gate()
    host.upstream.answer("Hello", gate)
    reading = ask(host, "/llm/chat?prompt=hi")
    stream_id = reading.read_until("Hello").partition('"id":"')[2].partition('"')[0]
    ask(host, f"/llm/streams/{stream_id}", method="HEAD").read_until("\r\n\r\n")
    reading.close()
    abandoned(host)
    gate.open()


def test_head_and_conditional_requests_start_nothing_of_their_own(host: Server) -> None:
    assert host.upstream is not None
    host.clear()
    for path in ("/llm/chat?prompt=hi", "/view?prompt=hi"):
        ask(host, path, method="HEAD").read_until("\r\n\r\n")
    assert not host.upstream.requests
