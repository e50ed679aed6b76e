"""Tools under gunicorn with gevent: a tool that blocks stops no other stream, and all steps take the same way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_stream.testing import Pause
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .calling import call
from .calling import calling
from .conftest import GUNICORN
from .conftest import Connection
from .conftest import Server
from .conftest import dechunked
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of

Serve = Callable[..., Server]

WORDS = [f"word-{n} " for n in range(30)]


def slowly(words: list[str]) -> list[str | Pause]:
    return [step for word in words for step in (word, Pause(0.005))]


@pytest.mark.parametrize("fast_path", [True, False])
def test_steps_are_written_as_they_come_beside_a_tool_that_blocks(
    upstream: Upstream, serve: Serve, tmp_path: Path, fast_path: bool
) -> None:
    server = serve(upstream, fast_path=fast_path)
    name = str(tmp_path / "go")
    calling(upstream, call("wait", name=name), text="One. ")
    reading = Connection.get(server.port, "/tools", "Connection: close")
    reading.read_until("tool_call")
    upstream.answer(*slowly(WORDS))
    other = read_events(server.get("/llm/chat?prompt=hi").content)
    assert text_of(other) == "".join(WORDS)
    upstream.answer(*slowly(WORDS))
    Path(name).touch()
    events = read_events(dechunked(reading.read_to_end()).encode())
    assert kinds_of(events) == ["start", "delta", "tool_call", "tool_result", "step", "delta", "usage", "done"]
    assert text_of(events) == "One. " + "".join(WORDS)
    assert of_kind(events, "tool_result")["result"] == "waited"


def test_reader_that_leaves_inside_a_tool_is_noticed(upstream: Upstream, serve: Serve, tmp_path: Path) -> None:
    server = serve(upstream, disconnect_grace_s=0.2)
    name = str(tmp_path / "go")
    calling(upstream, call("wait", name=name))
    reading = Connection.get(server.port, "/tools")
    reading.read_until("tool_call")
    reading.close()
    eventually(lambda: server.records(), "the record")
    assert server.records()[0]["status"] == "abandoned"
    Path(name).touch()
    eventually(lambda: server.worker()["threads"] == [], "the end of the tool's thread")


def test_worker_that_stops_inside_a_tool_interrupts_the_stream(
    upstream: Upstream, serve: Serve, tmp_path: Path
) -> None:
    server = serve(upstream, command=[*GUNICORN, "--graceful-timeout", "2"])
    calling(upstream, call("wait", name=str(tmp_path / "never")))
    reading = Connection.get(server.port, "/tools", "Connection: close")
    reading.read_until("tool_call")
    server.process.terminate()
    events = read_events(dechunked(reading.read_to_end()).encode())
    assert of_kind(events, "done") == {"status": "interrupted"}
    assert server.stop() == 0
    assert server.records()[0]["status"] == "interrupted"
