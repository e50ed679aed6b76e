"""Each way in which a stream can end: the right events, one record, nothing left behind. Real gunicorn with gevent."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Step
from llm_stream.testing import Upstream

from .conftest import SOON_S
from .conftest import Connection
from .conftest import Event
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .ports import free_port


@pytest.fixture(scope="module", params=["chat", "responses"])
def api(request: pytest.FixtureRequest) -> str:
    """The API that the upstream is asked by: every ending is the same with both."""
    return str(request.param)


@pytest.fixture(scope="module")
def shared(api: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for each API, with short deadlines."""
    with Upstream() as upstream:
        server = Server(
            upstream,
            tmp_path_factory.mktemp("server"),
            api=api,
            first_token_s=2,
            idle_s=2,
            total_s=5,
            disconnect_grace_s=0.5,
            retries=1,
            max_streams_per_owner=3,
            BREAK_HOOK_FOR="breaks-hook",
            models=["breaks-hook"],
        )
        yield server
        server.process.kill()
        server.process.wait()


@pytest.fixture
def server(shared: Server) -> Iterator[Server]:
    """The shared server, which must be at rest after every test."""
    yield shared
    assert shared.upstream is not None
    eventually(lambda: shared.upstream.open == 0, "the end of every upstream request")  # type: ignore[union-attr]
    eventually(shared.at_rest, f"rest in the worker: {shared.worker()}")


def ask(server: Server, *steps: Step, path: str = "/llm/chat?prompt=hi", **options: Any) -> list[Event]:
    assert server.upstream is not None
    server.upstream.answer(*steps, **options)
    return server.events(path)


def chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def check(server: Server, events: list[Event], status: str, source: str, code: str | None = None) -> dict[str, Any]:
    """What every ending has in common; returns the record."""
    ids = [number for number, _, _ in events]
    stream_id = of_kind(events, "start")["id"]
    assert ids == [f"{stream_id}-{n}" for n in range(1, len(events) + 1)]
    assert kinds_of(events)[0] == "start"
    assert kinds_of(events)[-2:] == ["usage", "done"]
    assert of_kind(events, "done")["status"] == status
    assert of_kind(events, "usage")["source"] == source
    failures = [data for _, kind, data in events if kind == "failure"]
    assert [failure["code"] for failure in failures] == ([code] if code else [])
    record = server.record(stream_id)
    assert (record["status"], record["source"], record["error_code"]) == (status, source, code)
    assert record["error_id"] == (failures[0]["error_id"] if failures else None)
    for failure in failures:
        assert failure["error_id"] in server.log
    assert "sk-secret" not in json.dumps(events)
    return record


def test_completed(server: Server) -> None:
    events = ask(server, "Hel", "lo")
    record = check(server, events, "completed", "provider")
    assert text_of(events) == "Hello"
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "stop"}
    assert of_kind(events, "usage")["output_tokens"] == 2
    assert (record["input_tokens"], record["output_tokens"]) == ("1", "2")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_cut_short_by_the_model_is_incomplete(server: Server, reason: str) -> None:
    events = ask(server, "Hel", finish_reason=reason)
    check(server, events, "incomplete", "provider")
    assert of_kind(events, "done")["finish_reason"] == reason


REFUSALS = [
    (400, "upstream_rejected", 400),
    (401, "upstream_refused", 502),
    (402, "upstream_refused", 502),
    (403, "upstream_refused", 502),
    (404, "upstream_refused", 502),
    (429, "upstream_throttled", 429),
    (500, "upstream_failed", 502),
    (503, "upstream_failed", 502),
]


@pytest.mark.parametrize(("status", "code", "ours"), REFUSALS)
def test_refused_before_the_first_byte(server: Server, status: int, code: str, ours: int) -> None:
    assert server.upstream is not None
    before = len(server.upstream.requests)
    for _ in range(4):
        server.upstream.answer(status=status, body=b'{"error": {"message": "PROVIDER WORDS sk-secret"}}')
    events = server.events()
    check(server, events, "failed", "none", code)
    assert set(of_kind(events, "usage")) == {"source"}
    assert "PROVIDER WORDS" not in json.dumps(events)
    attempts = 2 if status in (429, 500, 503) else 1
    assert len(server.upstream.requests) - before == attempts
    server.upstream.clear()

    for _ in range(attempts):
        server.upstream.answer(status=status, headers={"Retry-After": "7"}, body=b"PROVIDER WORDS")
    response = server.post()
    server.upstream.clear()
    assert response.status_code == ours, response.text
    assert response.json()["error"]["code"] == code
    assert "PROVIDER WORDS" not in response.text
    assert response.headers.get("Retry-After") == ("7" if status in (429, 500, 503) else None)


def test_a_refusal_for_the_moment_is_retried(server: Server) -> None:
    assert server.upstream is not None
    server.upstream.answer(status=503)
    events = ask(server, "Hello")
    check(server, events, "completed", "provider")
    assert text_of(events) == "Hello"


def test_deadline_passing_while_retrying_reports_the_last_refusal(server: Server) -> None:
    assert server.upstream is not None
    server.upstream.answer(status=503)
    events = ask(server, Stall(before_headers=True))
    assert of_kind(events, "failure")["code"] == "upstream_failed"
    assert of_kind(events, "done")["status"] == "failed"


def test_broken_off_by_a_reset(server: Server) -> None:
    events = ask(server, "Hel", "lo", Pause(0.1), Cut())
    check(server, events, "failed", "estimated", "upstream_cut")
    assert text_of(events) == "Hello"
    assert of_kind(events, "usage")["output_tokens"] == 1
    assert of_kind(events, "failure")["retryable"] is True


def test_broken_off_by_an_early_end(server: Server) -> None:
    check(server, ask(server, "Hello", Cut(reset=False)), "failed", "estimated", "upstream_cut")


def test_clean_end_without_a_finish_reason_is_a_failure(server: Server) -> None:
    check(server, ask(server, "Hello", finish_reason=None, done=False), "failed", "estimated", "upstream_cut")
    check(server, ask(server, "Hello", finish_reason=None), "failed", "estimated", "upstream_cut")


def test_end_without_done_marker_is_a_success(server: Server) -> None:
    check(server, ask(server, "Hello", done=False), "completed", "provider")


IN_STREAM_ERRORS: dict[str, tuple[Step, str]] = {
    "openai": ({"error": {"message": "PROVIDER WORDS", "type": "x", "param": None, "code": "x"}}, "upstream_failed"),
    "int code": ({"error": {"message": "PROVIDER WORDS", "code": 429}}, "upstream_throttled"),
    "digits": ({"error": {"message": "PROVIDER WORDS", "code": "500"}}, "upstream_failed"),
    "a string": ({"error": "PROVIDER WORDS"}, "upstream_failed"),
    "openrouter": (
        {"error": {"code": 502, "message": "x"}, "choices": [{"delta": {"content": ""}, "finish_reason": "error"}]},
        "upstream_failed",
    ),
    "flat": ({"object": "error", "message": "PROVIDER WORDS", "code": 400}, "upstream_rejected"),
    "flat with type": ({"type": "error", "message": "PROVIDER WORDS"}, "upstream_failed"),
    "old llama.cpp": (b'error: {"code": 500, "message": "PROVIDER WORDS"}\n\n', "upstream_failed"),
    "finish_reason": ({"choices": [{"delta": {}, "finish_reason": "error"}]}, "upstream_failed"),
}


@pytest.mark.parametrize("form", IN_STREAM_ERRORS)
def test_error_in_the_stream(server: Server, form: str) -> None:
    step, code = IN_STREAM_ERRORS[form]
    events = ask(server, "Hello", step, finish_reason=None)
    check(server, events, "failed", "estimated", code)
    assert text_of(events) == "Hello"
    assert "PROVIDER WORDS" not in json.dumps(events)


def test_garbage_json(server: Server) -> None:
    check(server, ask(server, "Hello", b"data: {nonsense\n\n"), "failed", "estimated", "upstream_garbled")


def test_stall_before_the_headers(server: Server) -> None:
    events = ask(server, Stall(before_headers=True))
    check(server, events, "timed_out", "estimated", "first_token_timeout")


def test_stall_before_the_first_token(server: Server) -> None:
    events = ask(server, chunk(role="assistant", content=None), Stall())
    check(server, events, "timed_out", "estimated", "first_token_timeout")


def test_stall_after_the_first_token(server: Server) -> None:
    events = ask(server, "Hello", Stall())
    check(server, events, "timed_out", "estimated", "idle_timeout")


def test_upstream_pings_do_not_count_as_content(server: Server) -> None:
    pings = [step for _ in range(20) for step in (b": ping\n\n", Pause(0.2))]
    check(server, ask(server, "Hello", *pings), "timed_out", "estimated", "idle_timeout")


def test_total_deadline(server: Server) -> None:
    slow = [step for n in range(40) for step in (f"{n} ", Pause(0.2))]
    check(server, ask(server, *slow), "timed_out", "estimated", "total_timeout")


def source_of_a_finish(api: str) -> str:
    """Chat completions send the figures after the finish_reason, the Responses API with it."""
    return "estimated" if api == "chat" else "provider"


def test_stall_after_the_finish_reason_is_no_failure(server: Server, api: str) -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = ask(server, "Hello", finish, Stall(), finish_reason=None)
    check(server, events, "completed", source_of_a_finish(api))


def test_stall_after_the_done_marker_holds_nobody_up(server: Server, api: str) -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    events = ask(server, "Hello", finish, b"data: [DONE]\n\n", Stall(), finish_reason=None)
    check(server, events, "completed", source_of_a_finish(api))


@pytest.mark.parametrize("steps", [("Hello", Stall()), (Stall(),), (Stall(before_headers=True),)])
@pytest.mark.parametrize("by", ["DELETE", "POST"])
def test_stopped(server: Server, steps: tuple[Step, ...], by: str) -> None:
    assert server.upstream is not None
    server.upstream.answer(*steps)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    stream_id = json.loads(reading.read_until('"created"').partition("data: ")[2].partition("\n")[0] or "{}").get("id")
    if "Hello" in steps:
        reading.read_until("Hello")
    else:
        eventually(lambda: server.upstream.open, "the upstream request")  # type: ignore[union-attr]
    asked = server.upstream.requests[-1]
    path = f"/llm/streams/{stream_id}" + ("" if by == "DELETE" else "/cancel")
    answer = Connection(server.port, f"{by} {path} HTTP/1.1\nHost: x\nContent-Length: 0\n\n")
    assert " 204 " in answer.read_until("\r\n\r\n")
    assert asked.left.wait(1.0), "the upstream must be closed within a second of a stop"
    reading.read_until('{"status":"cancelled"}')
    assert "event: failure" not in reading.received.decode()
    record = server.record(stream_id)
    assert (record["status"], record["source"]) == ("cancelled", "estimated")


@pytest.mark.parametrize("steps", [("Hello", Stall()), (Stall(before_headers=True),)])
def test_reader_gone_while_nothing_is_written(server: Server, steps: tuple[Step, ...]) -> None:
    assert server.upstream is not None
    gate = Gate()
    server.upstream.answer(*steps)
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until("event: start")
    eventually(lambda: server.upstream.open, "the upstream request")  # type: ignore[union-attr]
    asked = server.upstream.requests[-1]
    reading.close()
    assert asked.left.wait(0.5 + 1.0 + 0.5), "closed within the grace and a second of the last reader's going"
    record = eventually(lambda: [r for r in server.records() if r["status"] == "abandoned"], "the record")[-1]
    assert record["source"] == "estimated"
    gate.open()


def test_reader_gone_while_writing(server: Server) -> None:
    assert server.upstream is not None
    server.upstream.answer(*[step for n in range(200) for step in (f"{n} ", Pause(0.02))])
    reading = Connection.get(server.port, "/llm/chat?prompt=hi")
    reading.read_until('"9 "')
    asked = server.upstream.requests[-1]
    before = len(server.records())
    reading.close()
    assert asked.left.wait(SOON_S)
    eventually(lambda: len(server.records()) > before)
    assert server.records()[-1]["status"] == "abandoned"


def test_hook_that_raises_harms_nothing(server: Server) -> None:
    events = ask(server, "Hello", path="/llm/chat?prompt=hi&model=breaks-hook")
    check(server, events, "completed", "provider")
    assert "this hook is broken" in server.log


def test_connection_refused(serve: Any, tmp_path: Path) -> None:
    server = serve(None, OPENAI_BASE_URL=f"http://127.0.0.1:{free_port()}/v1", OPENAI_API_KEY="sk-secret", retries=1)
    check(server, server.events(), "failed", "none", "upstream_unreachable")
    assert server.post().status_code == 502
    eventually(server.at_rest)
