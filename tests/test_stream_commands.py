"""`flask llm streams` and `flask llm stop`: the streams of all workers, from a process of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from click.testing import Result
from flask import Flask

from llm_stream import LLMStream
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from .conftest import SOON_S
from .conftest import eventually
from .here import Pair
from .here import working
from .stores import StoreServer


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as store:
        yield store


@pytest.fixture
def pair(upstream: Upstream, store: StoreServer) -> Iterator[Pair]:
    with working(upstream, store.url()) as pair:
        yield pair


def run(app: Flask, *command: str) -> Result:
    return app.test_cli_runner().invoke(args=["llm", *command])


def operator(pair: Pair) -> Flask:
    """The app of a process that serves nobody."""
    app = Flask("operator")
    app.config.update({name: value for name, value in pair.a.app.config.items() if name.startswith("LLM_STREAM_")})
    app.config["LLM_STREAM_PUBLIC"] = True
    app.register_blueprint(LLMStream("llm", __name__, model="scripted"))
    return app


def lines_of(app: Flask, *command: str) -> list[list[str]]:
    result = run(app, *command)
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


def test_streams_lists_what_runs_at_every_worker_with_its_readers(pair: Pair) -> None:
    gate, app = Gate(), operator(pair)
    stream_id, url = pair.start("Hello", gate)
    with pair.b.client_of("ann").stream("GET", url) as response:
        assert response.status_code == 200

        def row() -> list[str]:
            (header, *rows) = lines_of(app, "streams")
            assert header == ["id", "owner", "model", "state", "age", "worker", "readers"]
            (row,) = rows
            return row

        eventually(lambda: row()[-1] == "1", "the count of the reader")
        assert row()[:4] == [stream_id, "ann", "scripted", "running"]
        gate.open()
        response.read()
    eventually(lambda: len(lines_of(app, "streams")) == 1, "an empty list")
    assert lines_of(app, "streams", "--all")[1][:4] == [stream_id, "ann", "scripted", "completed"]


def test_stop_ends_a_stream_of_another_process_and_closes_its_upstream(pair: Pair, upstream: Upstream) -> None:
    app = operator(pair)
    stream_id, _ = pair.start("Hello", Stall())
    assert run(app, "stop", stream_id).output == "stopped\n"
    assert upstream.request(0).left.wait(SOON_S)
    eventually(lambda: pair.record(stream_id), "the record")
    eventually(lambda: len(lines_of(app, "streams")) == 1, "an empty list")
    again = run(operator(pair), "stop", stream_id)
    assert (again.exit_code, again.output) == (1, "Error: This stream has ended already: cancelled.\n")


def test_stop_of_an_unknown_stream_says_so(pair: Pair) -> None:
    result = run(operator(pair), "stop", "feedfacefeedfacefeed")
    assert (result.exit_code, result.output) == (1, "Error: There is no such stream.\n")


def test_an_owner_cannot_write_to_the_operators_terminal(pair: Pair) -> None:
    gate, app = Gate(), operator(pair)
    pair.upstream.answer("Hello", gate)
    with pair.a.app.test_request_context():
        pair.a.llm.open("\x1b[31mred\nid", source=iter(["Hello"]))
    assert "\x1b" not in run(app, "streams", "--all").output
    assert len(lines_of(app, "streams", "--all")) == 2
    gate.open()


@pytest.mark.parametrize("command", [("streams",), ("stop", "feedfacefeedfacefeed")])
def test_commands_say_that_they_need_a_log_that_processes_share(command: tuple[str, ...]) -> None:
    app = Flask("alone")
    app.config["LLM_STREAM_PUBLIC"] = True
    app.register_blueprint(LLMStream("llm", __name__, model="scripted"))
    result = run(app, *command)
    assert result.exit_code == 1
    assert "LLM_STREAM_LOG_URL=redis://" in result.output
