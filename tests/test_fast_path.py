"""Writing past WSGI: only where nothing stands between, and with nothing lost when a client is slow."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import dechunked
from .conftest import eventually
from .conftest import text_of
from .proxy import Proxy

Serve = Callable[..., Server]

WORDS = [f"word-{n} " for n in range(50)]


@pytest.fixture(scope="module", params=[True, False], ids=["fast_path", "slow_path"])
def fast_path(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture(scope="module")
def site(fast_path: bool, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of each way, which most tests share. Only answers that break off are asked for again."""
    with Upstream() as upstream:
        folder = tmp_path_factory.mktemp("site")
        server = Server(upstream, folder, fast_path=fast_path, max_stream_bytes=100_000_000, retry_after_content=True)
        yield server
        server.stop()


@pytest.fixture
def server(site: Server) -> Server:
    """As if it had just begun."""
    site.clear()
    scripted(site).clear()
    return site


def scripted(server: Server) -> Upstream:
    assert server.upstream is not None
    return server.upstream


def slowly(words: list[str]) -> list[str | Pause]:
    """Each by itself, so that the reader sleeps in between."""
    return [step for word in words for step in (word, Pause(0.005))]


@pytest.mark.parametrize("what", ["generator", "map", "after_request"])
def test_whoever_stands_between_sees_every_byte(upstream: Upstream, serve: Serve, what: str) -> None:
    server = serve(upstream, STANDS_BETWEEN=what)
    upstream.answer(*slowly(WORDS))
    body = server.get("/llm/chat?prompt=hi").text
    assert body == body.upper()
    assert body.count("WORD-") == len(WORDS)


def test_client_that_reads_late_gets_everything_in_order(server: Server) -> None:
    upstream = scripted(server)
    blocks = [f"<{n}>" + "x" * 40_000 for n in range(300)]
    upstream.answer(*[step for block in blocks for step in (block, Pause(0.001))])
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close", read_buffer=4096)
    assert upstream.request(0).ended.wait(PATIENCE_S)
    body = dechunked(reading.read_to_end())
    assert text_of(read_events(body.encode())) == "".join(blocks)
    assert server.records()[0]["status"] == "completed"


def test_two_readers_of_which_one_is_slow(server: Server) -> None:
    upstream = scripted(server)
    gate = Gate()
    blocks = [f"<{n}>" + "x" * 40_000 for n in range(200)]
    upstream.answer("Hello", gate, *[step for block in blocks for step in (block, Pause(0.001))])
    url = server.post("/llm/streams", prompt="hi").json()["url"]
    slow = Connection.get(server.port, url, "Connection: close", read_buffer=4096)
    slow.read_until("Hello")
    quick = Connection.get(server.port, url, "Connection: close")
    quick.read_until("Hello")
    gate.open()
    first = dechunked(quick.read_to_end())
    assert dechunked(slow.read_to_end()) == first
    assert text_of(read_events(first.encode())) == "Hello" + "".join(blocks)


def test_old_client_gets_no_chunks(server: Server) -> None:
    upstream = scripted(server)
    upstream.answer(*slowly(WORDS))
    reading = Connection(server.port, "GET /llm/chat?prompt=hi HTTP/1.0\n\n")
    head, _, body = reading.read_to_end().partition("\r\n\r\n")
    assert "Transfer-Encoding" not in head
    assert text_of(read_events(body.encode())) == "".join(WORDS)


def test_connection_serves_one_request_after_another(server: Server) -> None:
    upstream = scripted(server)
    for n in range(3):
        upstream.answer(f"answer {n} ", *slowly(WORDS))
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    for n in range(3):
        text = reading.read_until("\r\n0\r\n\r\n")
        assert f"answer {n} " in text and "event: done" in text
        reading.received = b""
        if n < 2:
            reading.socket.sendall(b"GET /llm/chat?prompt=hi HTTP/1.1\r\nHost: x\r\n\r\n")


def test_silent_model_keeps_no_thread(server: Server, fast_path: bool) -> None:
    upstream = scripted(server)
    gates = [Gate() for _ in range(3)]
    upstream.answer("one ", gates[0], "two ", gates[1], "three", gates[2])
    reading = Connection.get(server.port, "/llm/chat?prompt=hi", "Connection: close")
    for gate, word in zip(gates, ("one ", "two ", "three"), strict=True):
        reading.read_until(word)
        producers = [name for name in server.get("/worker").json()["threads"] if name != "llm_stream clock"]
        assert len(producers) == (0 if fast_path else 1)
        gate.open()
    assert "event: done" in reading.read_to_end()
    assert server.records()[0]["status"] == "completed"


@pytest.mark.parametrize("fast_path", [True, False])
@pytest.mark.parametrize("segment", [None, 7])
def test_upstream_over_tls(
    upstream: Upstream, serve: Serve, tmp_path: Path, fast_path: bool, segment: int | None
) -> None:
    authority, tls = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    blocks = [f"<{n}>" + "é" * 100_000 for n in range(3)]
    with Proxy(int(upstream.base_url.split(":")[2].split("/")[0]), tls) as proxy:
        server = serve(
            upstream,
            fast_path=fast_path,
            OPENAI_BASE_URL=f"https://127.0.0.1:{proxy.port}/v1",
            SSL_CERT_FILE=str(tmp_path / "authority.pem"),
        )
        for _ in range(4):
            upstream.answer(*slowly(WORDS[:10]), *([] if segment else blocks), segment=segment)
            text = text_of(read_events(server.post("/llm/chat", prompt="hi").content))
            assert text == "".join(WORDS[:10] + ([] if segment else blocks))
        assert upstream.connections == 1
        upstream.answer("Hel", Cut())
        assert server.records()[-1]["status"] == "completed"
        events = read_events(server.post("/llm/chat", prompt="hi").content)
        assert [data["code"] for _, kind, data in events if kind == "failure"] == ["upstream_cut"]
        upstream.answer("Hel", Stall())
        url = server.post("/llm/streams", prompt="hi").json()["url"]
        eventually(lambda: "Hel" in server.get(url, Accept="application/json").text)
        server.post(f"{url}/cancel")
        assert upstream.requests[-1].left.wait(SOON_S)


def test_answer_that_breaks_off_is_asked_for_again_if_wanted(server: Server) -> None:
    upstream = scripted(server)
    upstream.answer(*slowly(WORDS[:5]), Cut())
    upstream.answer(status=500)
    upstream.answer(*slowly(WORDS[:7]))
    events = read_events(server.get("/llm/chat?prompt=hi").content)
    kinds = [kind for _, kind, _ in events]
    assert kinds.count("reset") == 1
    assert text_of(events[kinds.index("reset") :]) == "".join(WORDS[:7])
    assert server.records()[0]["status"] == "completed"
