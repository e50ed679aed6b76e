"""One `LLMStream` on several apps, several on one; refused where it would be public by accident."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from flask import Response
from flask import request
from openai import OpenAI

import llm_stream
from llm_stream import ConfigError
from llm_stream import Delta
from llm_stream import Done
from llm_stream import LLMStream
from llm_stream import LLMStreamError
from llm_stream import Start
from llm_stream import Usage
from llm_stream import UsageRecord
from llm_stream import stream_settled
from llm_stream import stream_started
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import SOON_S
from .conftest import text_of

MakeApp = Callable[..., Flask]


def test_registering_without_authorize_is_refused_unless_public() -> None:
    with pytest.raises(ConfigError, match="LLM_STREAM_PUBLIC"):
        Flask(__name__).register_blueprint(LLMStream("llm", __name__, model="m"))
    llm = LLMStream("llm", __name__, model="m")
    llm.authorize(lambda: "me")
    Flask(__name__).register_blueprint(llm)


def test_registering_without_a_model_is_refused() -> None:
    app = Flask(__name__)
    app.config["LLM_STREAM_PUBLIC"] = True
    with pytest.raises(ConfigError, match="LLM_STREAM_MODEL"):
        app.register_blueprint(LLMStream("llm", __name__))


def test_one_on_two_apps_keeps_them_apart(upstream: Upstream, make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    one, two = make_app(llm, max_output_tokens=1), make_app(llm, max_output_tokens=2)
    url = one.test_client().post("/llm/streams", json={"prompt": "hi"}).json
    one.test_client().get(url["url"], buffered=True)
    assert two.test_client().get(url["url"]).status_code == 404
    two.test_client().post("/llm/chat", json={"prompt": "hi"}, buffered=True)
    assert [asked.json["max_tokens"] for asked in upstream.requests] == [1, 2]


def test_two_on_one_app_have_models_and_clients_of_their_own(make_app: MakeApp, upstream: Upstream) -> None:
    with Upstream() as other_upstream:
        first = LLMStream("first", __name__, model="small", client=OpenAI(base_url=upstream.base_url, api_key="x"))
        second = LLMStream(
            "second", __name__, model="large", client=lambda: OpenAI(base_url=other_upstream.base_url, api_key="x")
        )
        app = make_app(first)
        app.register_blueprint(second, url_prefix="/second")
        client = app.test_client()
        for prefix in ("/llm", "/second"):
            client.post(f"{prefix}/chat", json={"prompt": "hi"}, buffered=True)
        assert upstream.request(0).json["model"] == "small"
        assert other_upstream.request(0).json["model"] == "large"
        second.close()


def test_nothing_is_connected_before_the_first_stream(make_app: MakeApp) -> None:
    made: list[int] = []

    def client() -> OpenAI:
        made.append(1)
        raise AssertionError("nobody asked")

    make_app(LLMStream("llm", __name__, model="m", client=client))
    assert not made


def test_missing_key_is_the_operators_trouble(make_app: MakeApp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    app = make_app(LLMStream("llm", __name__, model="m"))
    response = app.test_client().post("/llm/chat", json={"prompt": "hi"})
    assert (response.status_code, response.json["error"]["code"]) == (502, "upstream_refused")
    assert "OPENAI" not in response.text
    (record,) = app.extensions["records"]
    assert (record.status, record.source) == ("failed", "none")


def test_respond_in_a_view_of_ones_own(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    app = make_app(llm)

    @app.post("/summarise")
    def summarise() -> Response:
        return llm.respond(
            messages=[{"role": "system", "content": "Be brief."}, {"role": "user", "content": request.form["text"]}],
            model="any",
            max_output_tokens=7,
            temperature=0,
        )

    response = app.test_client().post("/summarise", data={"text": "hi"}, buffered=True)
    assert response.mimetype == "text/event-stream"
    asked = upstream.request(0).json
    assert (asked["model"], asked["max_tokens"], asked["temperature"]) == ("any", 7, 0)
    assert [message["role"] for message in asked["messages"]] == ["system", "user"]


def test_generator_sees_the_request_and_may_give_anything(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m")
    app = make_app(llm)

    @app.get("/report")
    def report() -> Response:
        def parts() -> Iterator[Any]:
            yield f"for {request.args['name']}: "
            yield {"choices": [{"delta": {"content": "a chunk"}, "finish_reason": "stop"}]}
            yield Usage(input_tokens=3, output_tokens=4)

        return llm.respond(parts(), model="mine")

    events = read_events(app.test_client().get("/report?name=Ann").data)
    assert text_of(events) == "for Ann: a chunk"
    assert events[0][2]["model"] == "mine"
    assert events[-2][2] == {"input_tokens": 3, "output_tokens": 4, "source": "provider"}


def test_sdk_stream_can_be_passed_as_it_is(make_app: MakeApp, upstream: Upstream) -> None:
    client = OpenAI(base_url=upstream.base_url, api_key="x")
    llm = LLMStream("llm", __name__, model="m", client=client)
    app = make_app(llm)
    upstream.answer("Hel", "lo")

    @app.get("/raw")
    def raw() -> Response:
        return llm.respond(client.chat.completions.create(model="x", messages=[], stream=True))

    assert text_of(read_events(app.test_client().get("/raw").data)) == "Hello"
    client.close()


def test_refusal_in_a_view_of_ones_own_is_json_too(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    app = make_app(llm)
    app.add_url_rule("/ask", view_func=lambda: llm.respond(prompt=request.args.get("prompt", "")))
    assert app.test_client().get("/ask").json["error"]["code"] == "invalid_field"
    assert app.test_client().get("/ask?prompt=x", headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert not upstream.requests


def test_host_may_render_errors_its_own_way(make_app: MakeApp) -> None:
    app = make_app()
    app.register_error_handler(LLMStreamError, lambda error: (f"oh: {error.code}", 418))
    assert app.test_client().get("/llm/chat").status_code == 418


def test_events_are_the_same_stream_without_http(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    app = make_app(llm)
    upstream.answer("Hel", "lo")
    with app.app_context():
        events = list(llm.events(prompt="hi"))
    assert isinstance(events[0], Start)
    assert [event for event in events if isinstance(event, Delta)] == [Delta("Hel"), Delta("lo")]
    assert events[-1] == Done("completed", "stop")


def test_closing_events_stops_the_stream(make_app: MakeApp, upstream: Upstream) -> None:
    llm = LLMStream("llm", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    app = make_app(llm)
    upstream.answer("Hello", Stall())
    with app.app_context():
        events = llm.events(prompt="hi")
        for event in events:
            if isinstance(event, Delta):
                break
        events.close()  # type: ignore[attr-defined]
    assert upstream.request(0).left.wait(SOON_S)


def test_signals_are_sent_once_per_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    sent: list[tuple[str, Any]] = []

    def started(sender: Flask, **values: Any) -> None:
        sent.append(("started", (sender, values)))

    def settled(sender: Flask, record: UsageRecord) -> None:
        sent.append(("settled", (sender, record)))

    with stream_started.connected_to(started), stream_settled.connected_to(settled):
        client = app.test_client()
        client.post("/llm/chat", json={"prompt": "hi", "key": "k"}, buffered=True)
        client.post("/llm/chat", json={"prompt": "hi", "key": "k"}, buffered=True)
    assert [name for name, _ in sent] == ["started", "settled"]
    (sender, values), (settled_sender, record) = (what for _, what in sent)
    assert sender is settled_sender is app
    assert values == {"id": record.id, "owner": record.owner, "model": record.model, "metadata": {}}


def test_prompts_and_answers_are_never_logged(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_app().test_client()
    for options in ({}, {"finish_reason": None}, {"status": 500}):
        upstream.answer("ANSWER-TEXT", **options)
        client.post("/llm/chat", json={"prompt": "PROMPT-TEXT"}, buffered=True)
    assert "status=completed" in caplog.text
    assert "PROMPT-TEXT" not in caplog.text and "ANSWER-TEXT" not in caplog.text


def test_public_names_are_complete_and_sorted() -> None:
    public = [name for name in vars(llm_stream) if not name.startswith("_")]
    modules = {name for name in public if type(getattr(llm_stream, name)).__name__ == "module"}
    assert sorted(set(public) - modules) == sorted(llm_stream.__all__) == llm_stream.__all__
    assert json.dumps(llm_stream.__version__)


def test_receiver_of_a_signal_that_raises_harms_nothing(make_app: MakeApp, upstream: Upstream) -> None:
    def broken(app: Flask, **_: Any) -> None:
        raise RuntimeError("this receiver is broken")

    upstream.answer("Hello")
    with stream_started.connected_to(broken):
        response = make_app().test_client().post("/llm/chat", json={"prompt": "hi"}, buffered=True)
    assert response.status_code == 200
