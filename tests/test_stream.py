"""The corners of a stream's life: what is stuck, what races, what is kept. In this process, under threads."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Blueprint
from flask import Flask
from openai import DefaultHttpx2Client
from openai import OpenAI

from llm_stream import Done
from llm_stream import LLMStream
from llm_stream.core.log.memory import Bell
from llm_stream.core.log.memory import MemoryLog
from llm_stream.core.retention import STREAM_BYTES
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of

MakeApp = Callable[..., Flask]


def llm_of(app: Flask) -> Any:
    return app.blueprints["llm"]


def ask(app: Flask, path: str = "/llm/chat?prompt=hi") -> list[Any]:
    return read_events(app.test_client().get(path).data)


class GreenletExit(BaseException):
    """As gevent's is."""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GreenletExit])
def test_hook_that_raises_anything_at_all_harms_nothing(
    make_app: MakeApp, upstream: Upstream, error: type[BaseException]
) -> None:
    app = make_app(retention_s=0)

    def broken(record: Any) -> None:
        raise error()

    llm_of(app)._hooks.on_usage.insert(0, broken)
    upstream.answer("Hello")
    assert kinds_of(ask(app)) == ["start", "delta", "usage", "done"]
    assert len(app.extensions["records"]) == 1


def test_finish_reason_that_cannot_be_written_is_written_otherwise(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(b'data: {"choices":[{"delta":{},"finish_reason":"\\ud800"}]}\n\n', finish_reason=None)
    assert of_kind(ask(make_app()), "done") == {"status": "completed", "finish_reason": "\ufffd"}


def test_slow_hook_of_one_stream_leaves_the_connection_of_the_next_alone(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(idle_s=0.3)
    at_work, go_on = threading.Event(), threading.Event()

    def slow(record: Any) -> None:
        if not at_work.is_set():
            at_work.set()
            go_on.wait(PATIENCE_S)

    llm_of(app)._hooks.on_usage.insert(0, slow)
    gate = Gate()
    client = app.test_client()
    upstream.answer("one", done=False)  # its body ends with the answer: the connection is free while the hook works
    first = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    assert at_work.wait(PATIENCE_S)
    upstream.answer("t", "w", Pause(0.25), "o", Pause(0.25), "!", Pause(0.25), gate)
    second = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    assert gate.reached.wait(PATIENCE_S)
    assert upstream.connections == 1
    gate.open()
    assert of_kind(read_events(client.get(second).data), "done")["status"] == "completed"
    go_on.set()
    assert of_kind(read_events(client.get(first).data), "done")["status"] == "completed"
    assert "failed" not in caplog.text


def test_content_after_the_finish_reason_does_not_keep_a_stream_open(make_app: MakeApp, upstream: Upstream) -> None:
    finish = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    upstream.answer("Hello", finish, *[step for _ in range(500) for step in ("x", Pause(0.02))], finish_reason=None)
    app = make_app(idle_s=0.3)
    assert of_kind(ask(app), "done")["status"] == "completed"
    assert upstream.request(0).left.wait(SOON_S)


def test_blocked_generator_does_not_keep_a_stopped_stream_open(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m")
    app = make_app(llm)
    blocked, free = threading.Event(), threading.Event()

    def parts() -> Iterator[str]:
        yield "Hello"
        blocked.set()
        free.wait(PATIENCE_S)
        yield "too late"

    with app.test_request_context():
        stream = llm.open("me", source=parts())
        assert blocked.wait(PATIENCE_S)
        stream.stop("cancelled")
        assert stream.settled.wait(SOON_S)
        free.set()
        eventually(lambda: stream.at_rest)
        events = stream.log.events
    assert [event.type for event in events] == ["start", "delta", "usage", "done"]
    assert events[-1] == Done("cancelled")


def test_two_of_the_same_name_are_two(make_app: MakeApp, upstream: Upstream) -> None:
    client = OpenAI(base_url=upstream.base_url, api_key="x")
    first = LLMStream("llm", __name__, model="first", client=client)
    second = LLMStream("llm", __name__, model="second", client=client)
    app = make_app(first)
    records: list[Any] = []
    second.on_usage(records.append)
    parent = Blueprint("parent", __name__)
    parent.register_blueprint(second)
    app.register_blueprint(parent, url_prefix="/second")
    ask(app, "/second/chat?prompt=hi")
    assert upstream.request(0).json["model"] == "second"
    assert len(records) == 1 and not app.extensions["records"]
    second.close()


def test_finished_stream_keeps_its_log_only(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(max_request_bytes=2_000_000, max_retained_bytes=3 * STREAM_BYTES)
    client = app.test_client()
    urls = []
    for _ in range(4):
        upstream.answer("Hello")
        url = client.post("/llm/streams", json={"prompt": "x" * 1_000_000}).json["url"]
        client.get(url, buffered=True)
        urls.append(url)
    with app.app_context():
        streams = llm_of(app).state.streams
        eventually(lambda: all(stream.is_released for stream in streams._streams.values()))
    statuses = [client.get(url, headers={"Accept": "application/json"}).status_code for url in urls]
    assert statuses == [410, 410, 200, 200], "the oldest go first when all together are too large"


def test_key_is_remembered_longer_than_its_stream(make_app: MakeApp, upstream: Upstream) -> None:
    client = make_app(retention_s=0).test_client()
    client.get("/llm/chat?prompt=hi&key=k", buffered=True)
    assert client.get("/llm/chat?prompt=hi&key=k").status_code == 204
    assert len(upstream.requests) == 1


def test_no_bell_is_lost_when_readers_come_and_go() -> None:
    log = MemoryLog()
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    missing: list[Any] = []

    def come_and_go() -> None:
        for _ in range(2000):
            bell = Bell()

            def ring(*_: object, bell: Bell = bell) -> None:
                bell.ring()

            log.subscribe(ring)
            if ring not in log._subscribers:
                missing.append(bell)
            log.unsubscribe(ring)

    threads = [threading.Thread(target=come_and_go) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    assert not missing and not log._subscribers


def test_reader_that_comes_after_the_last_event_ends(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("Hello")
    ask(app)
    with app.app_context():
        streams = llm_of(app).state.streams
        (stream,) = streams._streams.values()
        assert list(streams.follow(stream, after=stream.log.last).batches()) == []


def test_own_http_client_that_was_used_before_can_be_stopped_too(make_app: MakeApp, upstream: Upstream) -> None:
    http_client = DefaultHttpx2Client()
    openai = OpenAI(base_url=upstream.base_url, api_key="x", http_client=http_client)
    openai.models.list()
    app = make_app(LLMStream("llm", __name__, model="m", client=openai))
    upstream.answer(Stall(before_headers=True))
    client = app.test_client()
    url = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    eventually(lambda: upstream.requests)
    client.delete(url)
    assert upstream.request(0).left.wait(SOON_S)
    assert of_kind(read_events(client.get(url).data), "usage")["source"] == "estimated"


def test_accepted_attempt_is_not_forgotten_when_the_next_is_refused(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer(Pause(0.05), Cut())
    upstream.answer(status=500)
    events = ask(make_app(retries=1))
    assert of_kind(events, "usage")["source"] == "estimated"


def test_heartbeats_of_the_plain_form_go_on_while_the_model_reasons(make_app: MakeApp, upstream: Upstream) -> None:
    thought = {"choices": [{"index": 0, "delta": {"reasoning": "hm"}, "finish_reason": None}]}
    upstream.answer(*[step for _ in range(10) for step in (thought, Pause(0.05))], "Hello")
    client = make_app(heartbeat_s=0.1).test_client()
    body = client.get("/llm/chat?prompt=hi&format=text").text
    assert body.index(": ping") < body.index("Hello")


def test_events_are_not_bought_before_they_are_asked_for(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    with app.app_context():
        events = llm_of(app).events(prompt="hi")
    assert not upstream.requests
    assert next(events).type == "start"
    events.close()
    assert len(app.extensions["records"]) == 1, "whoever closes it may leave at once"


def test_clock_that_cannot_be_started_is_started_later(
    make_app: MakeApp, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app(first_token_s=0.3)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "llm_stream clock":
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    upstream.answer("Hello")
    assert text_of(ask(app)) == "Hello"
    monkeypatch.undo()
    upstream.answer(Stall(before_headers=True))
    assert of_kind(ask(app), "done")["status"] == "timed_out"


def test_log_holds_what_fits_and_not_a_byte_more(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m")
    app = make_app(llm, max_stream_bytes=1000)
    app.add_url_rule("/own", view_func=lambda: llm.respond(iter(["fits", "x" * 50_000])))
    events = ask(app, "/own")
    assert text_of(events) == "fits"
    assert of_kind(events, "failure")["code"] == "stream_too_large"


def test_key_of_one_view_is_not_good_for_another(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m")
    app = make_app(llm)
    for name in ("one", "two"):
        app.add_url_rule(f"/{name}", name, lambda name=name: llm.respond(iter([name]), key="k"))
    client = app.test_client()
    assert client.get("/one", buffered=True).status_code == 200
    assert client.get("/one", buffered=True).status_code == 200
    assert client.get("/two").status_code == 409


@pytest.mark.parametrize("source", ["text", b"bytes", [{"role": "user", "content": "x"}]])
def test_likely_mistakes_are_said_at_once(make_app: MakeApp, source: Any) -> None:
    llm = LLMStream("llm", __name__, model="m")
    with make_app(llm).test_request_context(), pytest.raises(TypeError, match="pass"):
        llm.respond(source)


@pytest.mark.parametrize("value", ["inf", "1e999", "nan", "-1", "1e300", "soon"])
def test_nonsensical_retry_after_is_left_out(make_app: MakeApp, upstream: Upstream, value: str) -> None:
    upstream.answer(status=429, headers={"Retry-After": value})
    response = make_app(retries=0).test_client().post("/llm/chat", json={"prompt": "hi"})
    assert response.status_code == 429
    assert "Retry-After" not in response.headers


def test_client_that_cannot_be_made_is_the_operators_trouble(make_app: MakeApp) -> None:
    def broken() -> OpenAI:
        raise RuntimeError("the vault is closed")

    response = (
        make_app(LLMStream("llm", __name__, model="m", client=broken))
        .test_client()
        .post("/llm/chat", json={"prompt": "hi"})
    )
    assert (response.status_code, response.json["error"]["code"]) == (502, "upstream_refused")


def test_hosts_own_limit_on_bodies_stays(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    app.config["MAX_CONTENT_LENGTH"] = 100
    assert app.test_client().post("/llm/chat", json={"prompt": "x" * 200}).status_code == 413
