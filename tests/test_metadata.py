"""Metadata: JSON of the app's own. The app finds it wherever it hears of the stream, and readers nowhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import Response

from llm_stream import LLMStream
from llm_stream import stream_settled
from llm_stream import stream_started
from llm_stream.chat_request import MAX_METADATA_BYTES
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Upstream

from .conftest import of_kind
from .databases import SQLite
from .here import LOGS
from .here import sharing
from .keeping import METADATA
from .keeping import SECRET
from .keeping import ask
from .keeping import asking
from .keeping import kept_by
from .keeping import llm_of

MakeApp = Callable[..., Flask]


def test_app_finds_it_in_the_record_the_row_the_signals_and_the_hooks(
    make_app: MakeApp, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.answer("Hello")
    ledger = SQLite(tmp_path)
    app = make_app(ledger_url=ledger.url)
    asking(app)
    answers, told = kept_by(app), []
    with (
        stream_started.connected_to(lambda _, **stream: told.append(stream["metadata"]), app),
        stream_settled.connected_to(lambda _, record: told.append(record.metadata), app),
    ):
        stream_id = of_kind(ask(app), "start")["id"]
    assert told == [METADATA, METADATA]
    assert answers[0].metadata == METADATA
    assert app.extensions["records"][0].metadata == METADATA
    (row,) = ledger.rows("SELECT metadata FROM llm_stream_usage")
    assert json.loads(row["metadata"]) == METADATA
    with app.app_context():
        assert llm_of(app).stream(stream_id).metadata == METADATA


def test_row_has_it_while_the_stream_runs(make_app: MakeApp, upstream: Upstream, tmp_path: Path) -> None:
    ledger = SQLite(tmp_path)
    app = make_app(ledger_url=ledger.url)
    gate = Gate()
    upstream.answer("one ", gate, "two")
    with app.app_context():
        events = llm_of(app).events(prompt="hi", metadata=METADATA)
        next(events)
        (row,) = ledger.rows("SELECT status, metadata FROM llm_stream_usage")
        gate.open()
        list(events)
    assert (row["status"], json.loads(row["metadata"])) == ("running", METADATA)


@pytest.mark.parametrize("log", LOGS)
def test_readers_get_it_in_no_form_at_no_worker(log: str) -> None:
    with sharing(log) as pair:
        asking(pair.a.app)
        gate = Gate()
        pair.upstream.answer("one ", gate, "two")
        bodies = []
        with pair.a.client_of("ann").stream("GET", "/ask") as running:
            pieces = running.iter_text()
            stream_id = running.headers["x-llm-stream-id"]
            url = f"/llm/streams/{stream_id}"
            bodies += [here.get(url, Accept="application/json").text for here in (pair.a, pair.b)]
            gate.open()
            bodies.append("".join(pieces))
        pair.upstream.answer("one ", Pause(0.05), Cut())
        responses = [pair.a.get(f"/ask{query}", **headers) for query, headers in [
            ("?format=text", {}), ("", {"Accept": "application/json"}), ("", {"Last-Event-ID": f"{stream_id}-2"}),
        ]]  # fmt: skip
        responses += [here.get(f"{url}{query}", **headers) for here in (pair.a, pair.b) for query, headers in [
            ("", {}), ("?format=text", {}), ("", {"Accept": "application/json"}), ("?after=99", {}),
        ]]  # fmt: skip
        responses += [here.get(f"/llm/streams?after={stream_id}-0") for here in (pair.a, pair.b)]
        bodies += [f"{response.headers} {response.text}" for response in responses]
    assert sum("one " in body for body in bodies) >= 10
    assert not [body for body in bodies if SECRET in body or "metadata" in body]


def test_owner_does_not_see_it_in_the_usage(make_app: MakeApp, tmp_path: Path) -> None:
    llm = LLMStream("llm", __name__, model="scripted")
    scope: list[Any] = ["127.0.0.1"]
    llm.authorize_usage(lambda: scope[0])
    app = make_app(llm, ledger_url=SQLite(tmp_path).url)
    app.add_url_rule("/report", view_func=lambda: llm.respond(["text"], metadata=METADATA))
    client = app.test_client()
    client.get("/report").get_data()
    for path in ("usage", "usage.json", "usage.csv"):
        seen = client.get(f"/llm/{path}").text
        assert "127.0.0.1" in seen and SECRET not in seen and "metadata" not in seen
    scope[0] = True
    assert SECRET in client.get("/llm/usage.csv").text, "the operator sees all of the row"


@pytest.mark.parametrize(
    "metadata, error",
    [
        ({"text": "x" * MAX_METADATA_BYTES}, "the limit is 4096"),
        ({"text": "\ud800"}, "is not JSON"),
    ],
)
def test_larger_or_broken_metadata_is_refused_before_anything_is_bought(
    make_app: MakeApp, upstream: Upstream, metadata: Any, error: str
) -> None:
    app = make_app()
    asking(app, metadata=metadata)
    closed: list[bool] = []

    class Source:
        def __iter__(self) -> Any:
            raise AssertionError("it is not read")

        def close(self) -> None:
            closed.append(True)

    app.add_url_rule("/report", view_func=lambda: llm_of(app).respond(Source(), metadata=metadata))
    for path in ("/ask", "/report"):
        refused = app.test_client().get(path)
        assert refused.status_code == 422
        assert error in refused.json["error"]["message"]
    assert closed == [True]
    assert not upstream.requests


@pytest.mark.parametrize("metadata", [["a list"], {"no": object()}, "text"])
def test_metadata_that_is_no_json_object_is_a_mistake_of_the_app(make_app: MakeApp, metadata: Any) -> None:
    app = make_app()
    with app.app_context(), pytest.raises(TypeError):
        llm_of(app).events(prompt="hi", metadata=metadata)


def test_metadata_of_the_largest_size_is_kept_whole(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hello")
    app = make_app()
    metadata = {"t": "x" * (MAX_METADATA_BYTES - len('{"t":""}'))}
    asking(app, metadata=metadata)
    answers = kept_by(app)
    ask(app)
    assert answers[0].metadata == metadata


def test_later_changes_of_the_apps_own_mapping_reach_nobody(make_app: MakeApp, upstream: Upstream) -> None:
    upstream.answer("Hello")
    app = make_app()
    metadata: dict[str, Any] = {"ids": [1]}

    def view() -> Response:
        response = llm_of(app).respond(prompt="hi", metadata=metadata)
        metadata["ids"].append(2)
        return response

    app.add_url_rule("/view", view_func=view)
    answers = kept_by(app)
    ask(app, "/view")
    assert answers[0].metadata == {"ids": [1]}


def test_reader_that_attaches_does_not_change_it(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    answers = kept_by(app)
    upstream.answer("Hello")

    def view(number: int) -> Response:
        return llm_of(app).respond(prompt="hi", key="k", metadata={"from": number})

    app.add_url_rule("/view/<int:number>", view_func=view)
    assert ask(app, "/view/1") == ask(app, "/view/2")
    assert [answer.metadata for answer in answers] == [{"from": 1}]
    assert len(upstream.requests) == 1


def test_stream_without_it_has_an_empty_one(make_app: MakeApp, upstream: Upstream, tmp_path: Path) -> None:
    upstream.answer("Hello")
    ledger = SQLite(tmp_path)
    app = make_app(ledger_url=ledger.url)
    answers = kept_by(app)
    ask(app, "/llm/chat?prompt=hi")
    assert answers[0].metadata == app.extensions["records"][0].metadata == {}
    assert ledger.rows("SELECT metadata FROM llm_stream_usage") == [{"metadata": None}]
