"""`@llm.transform`: what readers see of a stream, where it runs, what ends it, and what is billed."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from itertools import islice
from itertools import repeat
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import current_app
from flask import g
from flask import request

from llm_stream import Data
from llm_stream import Delta
from llm_stream import Done
from llm_stream import Event
from llm_stream import Failure
from llm_stream import Reset
from llm_stream import Source
from llm_stream import Step
from llm_stream import ToolCall
from llm_stream import ToolResult
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .calling import call
from .calling import calling
from .conftest import GUNICORN
from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .databases import SQLite
from .test_generator import A_RUPEE_A_TOKEN
from .test_generator import answering
from .test_generator import first_id
from .test_generator import llm_of
from .test_generator import read
from .test_generator import record_of
from .test_generator import statuses

MakeApp = Callable[..., Flask]
Serve = Callable[..., Server]
ASK = "/llm/chat?prompt=hi"


def in_capitals(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        yield Delta(event.text.upper()) if isinstance(event, Delta) else event


def exclaiming(events: Iterator[Event]) -> Iterator[Any]:
    for event in events:
        yield event
        yield "!"


def all_at_the_end(events: Iterator[Event]) -> Iterator[str]:
    yield "".join(event.text for event in events if isinstance(event, Delta))


def until_the_word_stop(events: Iterator[Event]) -> Iterator[Event]:
    for event in events:
        if isinstance(event, Delta) and "STOP" in event.text:
            return
        yield event


def weather(city: str) -> str:
    """The weather in a city."""
    return f"dry in {city}"


# What readers see…


def test_readers_see_what_the_transform_yields(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(in_capitals)
    upstream.answer("Hel", "lo", finish_reason="length")
    events = read(app, ASK)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert text_of(events) == "HELLO"
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "length"}
    assert [int(number.rpartition("-")[2]) for number, _, _ in events] == list(range(1, len(events) + 1))


@pytest.mark.parametrize("order", [(in_capitals, exclaiming), (exclaiming, in_capitals)])
def test_several_are_applied_in_the_order_of_their_registration(
    make_app: MakeApp, upstream: Upstream, order: list[Any]
) -> None:
    def doubled(events: Iterator[Event]) -> Iterator[Any]:
        """Gets events, also where the one before it yields text, lists and None."""
        for event in events:
            assert isinstance(event, Delta)
            yield [event, None, [event.text]]

    app = make_app()
    llm_of(app).transform(order[0])
    llm_of(app).transform(doubled)
    llm_of(app).transform(order[1])
    upstream.answer("a")
    assert text_of(read(app, ASK)) == {in_capitals: "A!A!", exclaiming: "AA!!"}[order[0]]


def test_every_way_to_ask_is_transformed(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(in_capitals)
    answering(app, lambda: iter(["from a ", Delta("generator")]))
    assert text_of(read(app)) == "FROM A GENERATOR"
    upstream.answer("by post")
    assert text_of(read_events(app.test_client().post("/llm/chat", json={"prompt": "hi"}).data)) == "BY POST"
    upstream.answer("json")
    asked = app.test_client().post("/llm/chat", json={"prompt": "hi"}, headers={"Accept": "application/json"})
    assert asked.json["text"] == "JSON"
    upstream.answer("in python")
    with app.app_context():
        events = list(llm_of(app).events(prompt="hi"))
    assert [event.text for event in events if isinstance(event, Delta)] == ["IN PYTHON"]


def test_part_of_a_generator_is_transformed_once_with_the_whole(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(exclaiming)
    upstream.answer("one")
    seen: list[str] = []

    def agent() -> Iterator[Any]:
        for event in llm_of(app).events(prompt="hi"):
            if isinstance(event, Delta):
                seen.append(event.text)
            yield event

    answering(app, agent)
    assert text_of(read(app)) == "one!"
    assert len(app.extensions["records"]) == 1
    assert seen == ["one"]


def test_events_of_tools_pass_untouched_and_in_order(make_app: MakeApp) -> None:
    app = make_app()
    llm_of(app).transform(in_capitals)
    given = [
        Delta("a"),
        ToolCall(0, "", id="c1", name="look", server=True),
        ToolCall(0, '{"x":1}'),
        ToolResult("c1", "look", result=None),
        Step(2),
        Source("https://example.com", start=0, end=1),
        Data("rows", [1, None]),
        Reset("again"),
    ]
    answering(app, lambda: iter(given))
    kinds = [kind for _, kind, _ in read(app)]
    assert kinds == ["start", *[event.type for event in given], "usage", "done"]


def test_answer_with_a_tool_is_transformed_as_one_and_the_model_is_told_the_original(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()
    llm_of(app).transform(in_capitals)
    llm_of(app).tool(weather)
    calling(upstream, call("weather", city="Pune"), text="Let me look. ")
    upstream.answer("It is dry.")
    events = read(app, ASK)
    expected = ["start", "delta", "tool_call", "tool_result", "step", "delta", "usage", "done"]
    assert kinds_of(events) == expected
    assert text_of(events) == "LET ME LOOK. IT IS DRY."
    assert of_kind(events, "tool_result")["result"] == "dry in Pune"
    assert upstream.request(1).json["messages"][1]["content"] == "Let me look. "


def test_what_is_held_back_comes_at_the_end(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(all_at_the_end)
    upstream.answer("Hello ", "you")
    events = read(app, ASK)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert [data["text"] for _, kind, data in events if kind == "delta"] == ["Hello you"]


def test_what_is_held_back_also_comes_before_a_failure(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(all_at_the_end)
    upstream.answer("Hel", Cut())
    events = read(app, ASK)
    assert kinds_of(events) == ["start", "delta", "failure", "usage", "done"]
    assert (text_of(events), of_kind(events, "failure")["code"]) == ("Hel", "upstream_cut")


def test_nothing_waits_for_the_next_event(make_app: MakeApp, upstream: Upstream) -> None:
    """What a transform has yielded is sent before it asks for an event that is not there yet."""
    app = make_app()

    def every_second(events: Iterator[Event]) -> Iterator[Event]:
        for number, event in enumerate(events):
            if number % 2 == 0:
                yield event

    llm_of(app).transform(every_second)
    gate = Gate()
    upstream.answer({"choices": [{"index": 0, "delta": {"content": "", "reasoning": "one "}}]}, "two ", gate, "three")
    answer = app.test_client().get(ASK, buffered=False)
    pieces: Iterator[Any] = iter(answer.response)
    body = b""
    while b"one " not in body:
        body += next(pieces)
    assert not gate.opened.is_set()
    gate.open()
    assert kinds_of(read_events(body + b"".join(pieces))) == ["start", "reasoning", "delta", "usage", "done"]


# Where it runs…


def test_transform_runs_in_an_app_context_of_its_own_not_in_the_generators(make_app: MakeApp) -> None:
    app = make_app()
    torn_down: list[str] = []

    @app.teardown_appcontext
    def note(_: BaseException | None) -> None:
        if "mine" in g:
            torn_down.append(g.mine)

    def words() -> Iterator[str]:
        g.mine = "generator"
        yield "a"
        assert g.mine == "generator"
        yield "b"

    def transform(events: Iterator[Event]) -> Iterator[Any]:
        assert "mine" not in g
        g.mine = "transform"
        for event in events:
            assert g.mine == "transform"
            yield event
        yield f"{request.args['name']} {current_app.name}"
        assert torn_down == ["generator"]

    llm_of(app).transform(transform)
    llm_of(app).on_usage(lambda _: torn_down.append("hook" if "mine" not in g else "hook in the transform's context"))
    answering(app, words)
    assert text_of(read(app, "/view?name=x")) == "abx served_here"
    assert torn_down == ["generator", "transform", "hook"]


def test_call_of_a_model_in_a_transform_is_a_stream_of_its_own_and_not_transformed(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()

    @llm_of(app).transform
    def judged(events: Iterator[Event]) -> Iterator[Any]:
        text = "".join(event.text for event in events if isinstance(event, Delta))
        verdict = "".join(
            event.text for event in llm_of(app).events(prompt=text, owner="judge") if isinstance(event, Delta)
        )
        yield f"{text}: {verdict}"

    upstream.answer("Hello")
    upstream.answer("fine")
    events = read(app, ASK)
    assert text_of(events) == "Hello: fine"
    assert statuses(events) == ["completed"]
    assert [record.owner for record in app.extensions["records"]] == ["judge", "127.0.0.1"]
    assert upstream.request(1).json["messages"][0]["content"] == "Hello"


def test_async_function_is_refused_at_once(make_app: MakeApp) -> None:
    async def late(events: Any) -> Any:
        yield None

    with pytest.raises(TypeError, match="not an async one"):
        llm_of(make_app()).transform(late)


# What ends it…


def test_cut_off_closes_the_upstream_at_once_and_bills_what_it_wrote(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(until_the_word_stop)
    upstream.answer("The quick brown fox jumps over the lazy dog.", " STOP right there", Stall())
    events = read(app, ASK)
    assert text_of(events) == "The quick brown fox jumps over the lazy dog."
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "content_filter"}
    assert upstream.request(0).left.wait(SOON_S)
    record = record_of(app)
    assert (record.status, record.source, record.input_tokens, record.output_tokens) == (
        "incomplete",
        "estimated",
        8,
        13,
    )


def test_last_of_several_can_cut_off(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    closed: list[bool] = []

    def first(events: Iterator[Event]) -> Iterator[Event]:
        try:
            yield from events
        finally:
            closed.append(True)

    llm_of(app).transform(first)
    llm_of(app).transform(lambda events: islice(events, 1))
    upstream.answer("one", "two", Stall())
    events = read(app, ASK)
    assert (text_of(events), statuses(events)) == ("one", ["incomplete"])
    assert closed == [True]
    assert upstream.request(0).left.wait(SOON_S)


def test_transform_can_say_how_its_stream_ends(make_app: MakeApp, upstream: Upstream) -> None:
    for end, status in ((Done("completed", "enough"), "completed"), (Failure("mine", "No.", False, "e1"), "failed")):
        app = make_app()

        def ending(events: Iterator[Event], end: Event = end) -> Iterator[Any]:
            yield from islice(events, 1)
            yield end

        llm_of(app).transform(ending)
        upstream.answer("one", Stall())
        events = read(app, ASK)
        assert (text_of(events), statuses(events)) == ("one", [status])
        assert [data["code"] for _, kind, data in events if kind == "failure"] == ["mine"] * (status == "failed")
        eventually(lambda: upstream.open == 0)


@pytest.mark.parametrize("garbage", [RuntimeError("sk-secret"), object(), {"choices": []}, Delta(5)])  # type: ignore[arg-type]
def test_transform_that_raises_or_yields_garbage_fails_its_stream(
    make_app: MakeApp, upstream: Upstream, garbage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    def broken(events: Iterator[Event]) -> Iterator[Any]:
        yield next(events)
        if isinstance(garbage, Exception):
            raise garbage
        yield garbage

    llm_of(app).transform(broken)
    upstream.answer("one", Stall())
    events = read(app, ASK)
    assert kinds_of(events) == ["start", "delta", "failure", "usage", "done"]
    failure = of_kind(events, "failure")
    assert failure["code"] == "internal"
    assert "sk-secret" not in str(events)
    assert failure["error_id"] in caplog.text
    assert upstream.request(0).left.wait(SOON_S)
    assert record_of(app).source == "estimated"


@pytest.mark.parametrize("ending", ["whole", "cut off", "raise", "stop", "stop while it is asked"])
def test_transform_is_closed_and_its_context_torn_down_however_it_ends(
    make_app: MakeApp, upstream: Upstream, ending: str
) -> None:
    app = make_app()
    order: list[str] = []
    gate = Gate()

    @app.teardown_appcontext
    def note(_: BaseException | None) -> None:
        if "mine" in g:
            order.append("context torn down")

    def transform(events: Iterator[Event]) -> Iterator[Any]:
        g.mine = True
        try:
            for event in events:
                yield event
                if ending == "cut off":
                    return
                if ending == "raise":
                    raise RuntimeError("broken")
                if ending == "stop":
                    gate.reached.set()
                    gate.opened.wait(PATIENCE_S)
            order.append("asked for the end")
        except Exception:
            order.append("caught")
            raise
        finally:
            order.append("closed")

    llm_of(app).transform(transform)
    upstream.answer("a", *([] if ending == "whole" else [Stall()]))
    if ending.startswith("stop"):
        client = app.test_client()
        answer = client.get(ASK, buffered=False)
        stream_id = first_id(answer)
        assert eventually(lambda: upstream.requests)
        assert ending != "stop" or gate.reached.wait(PATIENCE_S)
        client.delete(f"/llm/streams/{stream_id}")
        gate.open()
        answer.close()
    else:
        read(app, ASK)
    eventually(lambda: "context torn down" in order)
    first = {"whole": ["asked for the end"], "raise": ["caught"]}.get(ending, [])
    assert order == [*first, "closed", "context torn down"]
    status = {"whole": "completed", "cut off": "incomplete", "raise": "failed"}.get(ending, "cancelled")
    assert eventually(lambda: app.extensions["records"])[0].status == status


def test_model_at_work_is_not_idle_while_a_transform_holds_everything_back(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app(first_token_s=1, idle_s=1)
    llm_of(app).transform(all_at_the_end)
    upstream.answer(*[step for _ in range(8) for step in ("word ", Pause(0.3))])
    assert text_of(read(app, ASK)) == "word " * 8


def test_log_takes_no_more_than_its_limit(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(max_stream_bytes=2000)
    closed: list[bool] = []

    def endless(events: Iterator[Event]) -> Iterator[Any]:
        try:
            for event in events:
                while True:
                    yield event
        finally:
            closed.append(True)

    llm_of(app).transform(endless)
    upstream.answer("one", Stall())
    assert of_kind(read(app, ASK), "failure")["code"] == "stream_too_large"
    assert closed == [True]


def test_what_a_transform_drops_counts_for_the_limit_of_the_log(make_app: MakeApp) -> None:
    app = make_app(max_stream_bytes=2000)
    llm_of(app).transform(lambda events: ("" for _ in events))
    answering(app, lambda: repeat("word "))
    events = read(app)
    assert kinds_of(events) == ["start", "failure", "usage", "done"]
    assert of_kind(events, "failure")["code"] == "stream_too_large"


# What is billed…


@pytest.mark.parametrize("transform", [lambda events: iter([e for e in events if False]), exclaiming])
@pytest.mark.parametrize("ending", ["whole", "cut", "reset"])
def test_estimate_counts_what_the_model_wrote(
    make_app: MakeApp, upstream: Upstream, transform: Any, ending: str
) -> None:
    records = []
    for transforms in ([], [transform]):
        app = make_app(retry_after_content=ending == "reset")
        for each in transforms:
            llm_of(app).transform(each)
        if ending == "reset":
            upstream.answer("The quick brown fox", Cut(), usage=False)
        upstream.answer("The quick brown fox jumps", *([Cut()] if ending == "cut" else []), usage=False)
        read(app, ASK)
        records.append(record_of(app))
    plain, transformed = records
    assert plain.source == transformed.source == "estimated"
    assert (plain.input_tokens, plain.output_tokens) == (transformed.input_tokens, transformed.output_tokens)


def test_every_step_of_an_answer_with_tools_is_estimated_from_what_the_model_wrote(
    make_app: MakeApp, upstream: Upstream
) -> None:
    counts = []
    for transforms in ([], [all_at_the_end]):
        app = make_app()
        llm_of(app).tool(weather)
        for each in transforms:
            llm_of(app).transform(each)
        calling(upstream, call("weather", city="Pune"), text="Let me look. ", usage=False)
        upstream.answer("It is dry.", usage=False)
        read(app, ASK)
        counts.append((record_of(app).source, record_of(app).input_tokens, record_of(app).output_tokens))
    assert counts[0][0] == "estimated"
    assert counts[0] == counts[1]


def test_figures_of_the_provider_count_whatever_readers_see(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).transform(in_capitals)
    upstream.answer("Hello", usage={"prompt_tokens": 10, "completion_tokens": 2})
    read(app, ASK)
    record = record_of(app)
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 10, 2)


def test_generator_of_the_apps_is_estimated_from_what_it_yielded(make_app: MakeApp) -> None:
    app = make_app()
    llm_of(app).transform(lambda events: ("" for _ in events))
    answering(app, lambda: iter(["The quick brown fox"]))
    read(app)
    assert (record_of(app).source, record_of(app).output_tokens) == ("estimated", 4)


def test_budget_is_kept_by_what_the_model_writes(make_app: MakeApp, upstream: Upstream, tmp_path: Path) -> None:
    ledger = SQLite(tmp_path)
    budgets = {"day": "60", "currency": "INR"}
    app = make_app(ledger_url=ledger.url, budgets=budgets, prices=A_RUPEE_A_TOKEN, max_output_tokens=10)
    llm_of(app).transform(lambda events: ("" for _ in events))
    upstream.answer(*(["word "] * 80), Stall())
    assert statuses(read(app, ASK)) == ["over_budget"]


# Under the server that it is made for…


def test_transformed_stream_is_resumed_and_stopped_like_any_other(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=[*GUNICORN[:-1], "tests.redacting:app"], disconnect_grace_s=20)
    gate = Gate()
    upstream.answer("my pass", "word is ", gate, "secret ", Stall())
    reader = Connection.get(server.port, "/llm/chat?prompt=hi&key=k")
    seen = reader.read_until("is ")
    assert "word" not in seen
    stream_id = seen.partition('"id":"')[2][:20]
    reader.close()
    gate.open()
    again = Connection.get(server.port, "/llm/chat?prompt=hi&key=k")
    assert "[redacted]" in again.read_until("secret")
    server.request("DELETE", f"/llm/streams/{stream_id}")
    again.read_until("cancelled")
    assert upstream.request(0).left.wait(SOON_S)
    record = server.record(stream_id)
    assert (record["status"], record["source"]) == ("cancelled", "estimated")
    eventually(server.at_rest)


def test_cut_off_closes_the_upstream_under_the_server(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream, command=[*GUNICORN[:-1], "tests.redacting:app"])
    upstream.answer("This is ", "forbid", "den fruit", Stall())
    events = server.events()
    assert text_of(events) == "This is "
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "content_filter"}
    assert upstream.request(0).left.wait(SOON_S)
    assert server.record(of_kind(events, "start")["id"])["source"] == "estimated"
    eventually(server.at_rest)
