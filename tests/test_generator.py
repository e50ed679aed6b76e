"""A generator given to `respond()`: where it runs, what closes it, and the calls of a model that it makes."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask import Response
from flask import current_app
from flask import g
from flask import request
from flask import session
from flask_sqlalchemy import SQLAlchemy
from openai import OpenAI
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.orm import Mapped
from sqlalchemy.orm import mapped_column
from sqlalchemy.pool import QueuePool

from llm_stream import Delta
from llm_stream import Done
from llm_stream import Failure
from llm_stream import LLMStream
from llm_stream import Start
from llm_stream import ToolCall
from llm_stream import Usage
from llm_stream import stream_started
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Event
from .conftest import eventually
from .conftest import kinds_of
from .conftest import of_kind
from .conftest import text_of
from .databases import SQLite

MakeApp = Callable[..., Flask]

PRICES = {"scripted": {"input": "14", "output": "58", "currency": "INR"}}
A_RUPEE_A_TOKEN = {"scripted": {"input": "0", "output": "1000000", "currency": "INR"}}


def llm_of(app: Flask) -> LLMStream:
    return app.blueprints["llm"]  # type: ignore[return-value]


def answering(app: Flask, make: Callable[[], Iterable[Any]], **options: Any) -> None:
    """A view that answers with what `make` makes."""

    def view() -> Response:
        return llm_of(app).respond(make(), **options)

    app.add_url_rule("/view", view_func=view)


def read(app: Flask, path: str = "/view") -> list[Event]:
    return read_events(app.test_client().get(path).data)


def record_of(app: Flask) -> Any:
    (record,) = app.extensions["records"]
    return record


def first_id(answer: Any) -> str:
    """The id of a stream, from the first piece of its response."""
    stream_id: str = of_kind(read_events(next(iter(answer.response))), "start")["id"]
    return stream_id


def statuses(events: list[Event]) -> list[str]:
    return [data["status"] for _, kind, data in events if kind == "done"]


# Where it runs…


def test_generator_runs_in_an_app_context_of_its_own(make_app: MakeApp) -> None:
    app = make_app()
    torn_down: list[str] = []
    app.secret_key = "k"

    @app.before_request
    def before() -> None:
        g.seen = "in the request"
        session["user"] = "ann"

    @app.teardown_appcontext
    def note(_: BaseException | None) -> None:
        torn_down.append(threading.current_thread().name)

    def words() -> Iterator[str]:
        assert "seen" not in g, "g is empty, as in any new app context"
        g.seen = "in the generator"
        yield f"{request.args['name']} {session['user']} {current_app.name}"
        assert g.seen == "in the generator"
        assert not any(name.startswith("llm_stream") for name in torn_down), "it has not ended yet"
        yield "!"

    answering(app, words)
    assert text_of(read(app, "/view?name=x")) == "x ann served_here!"
    assert sum(name.startswith("llm_stream") for name in torn_down) >= 1


def test_session_of_flask_sqlalchemy_lasts_as_long_as_the_generator(make_app: MakeApp, tmp_path: Path) -> None:
    class Base(DeclarativeBase):
        pass

    db = SQLAlchemy(model_class=Base)

    class Word(db.Model):  # type: ignore[name-defined, misc]
        id: Mapped[int] = mapped_column(primary_key=True)
        text: Mapped[str]

    app = make_app()
    app.config["SQLALCHEMY_DATABASE_URI"] = f"sqlite:///{tmp_path / 'words.db'}"
    app.config["SQLALCHEMY_ENGINE_OPTIONS"] = {"poolclass": QueuePool}
    db.init_app(app)
    with app.app_context():
        db.create_all()
        db.session.add_all([Word(text="one "), Word(text="two "), Word(text="three")])
        db.session.commit()

    def words() -> Iterator[str]:
        mine = db.session()
        for word in db.session.scalars(db.select(Word).order_by(Word.id)):
            yield word.text
            assert db.session() is mine, "nobody took the session away"
        db.session.add(Word(text="written at the end"))
        db.session.commit()

    answering(app, words)
    assert text_of(read(app)) == "one two three"
    with app.app_context():
        assert db.session.scalar(db.select(db.func.count()).select_from(Word)) == 4
        pool: Any = db.engine.pool
    assert pool.checkedout() == 0
    with app.app_context():
        db.engine.dispose()


@pytest.mark.parametrize("ending", ["whole", "done", "raise", "stop"])
def test_generator_is_closed_and_its_context_torn_down_however_it_ends(make_app: MakeApp, ending: str) -> None:
    app = make_app()
    order: list[str] = []
    gate = Gate()

    @app.teardown_appcontext
    def note(_: BaseException | None) -> None:
        if "mine" in g:
            order.append("context torn down")

    def words() -> Iterator[Any]:
        g.mine = True
        try:
            yield "a"
            if ending == "stop":
                gate.reached.set()
                gate.opened.wait(PATIENCE_S)
                yield "nobody hears this"
            if ending == "raise":
                raise RuntimeError("broken")
            if ending == "done":
                yield Done("completed")
                order.append("asked for more after its end")
        finally:
            order.append("closed")

    answering(app, words)
    if ending == "stop":
        client = app.test_client()
        first = client.get("/view", buffered=False)
        stream_id = first_id(first)
        gate.reached.wait(PATIENCE_S)
        client.delete(f"/llm/streams/{stream_id}")
        gate.open()
        first.close()
    else:
        read(app)
    eventually(lambda: len(order) == 2)
    assert order == ["closed", "context torn down"]
    expected = {"whole": "completed", "done": "completed", "raise": "failed", "stop": "cancelled"}[ending]
    assert eventually(lambda: app.extensions["records"])[0].status == expected


def test_generator_is_closed_unbegun_where_the_request_is_refused(make_app: MakeApp) -> None:
    llm = LLMStream("llm", __name__, model="scripted")
    llm.authorize(lambda: None)
    app = make_app(llm)
    closed: list[bool] = []

    class Source:
        def __iter__(self) -> Iterator[str]:
            yield "never"

        def close(self) -> None:
            closed.append(True)

    answering(app, Source)
    assert app.test_client().get("/view").status_code == 401
    assert closed == [True]


# llm.events() within it…


def test_events_given_to_respond_are_one_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices=PRICES)
    upstream.answer("Hel", "lo", usage={"prompt_tokens": 10, "completion_tokens": 2})
    answering(app, lambda: llm_of(app).events(prompt="hi"))
    started: list[Any] = []
    with stream_started.connected_to(lambda _, **stream: started.append(stream), app):
        events = read(app)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert text_of(events) == "Hello"
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "stop"}
    record = record_of(app)
    assert (record.id, record.owner) == (of_kind(events, "start")["id"], "127.0.0.1")
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 10, 2)
    assert record.cost == (10 * Decimal(14) + 2 * Decimal(58)) / 1_000_000
    assert of_kind(events, "usage")["cost"] == str(record.cost)
    assert (record.model, record.upstream_model) == ("scripted", "scripted")
    assert [stream["id"] for stream in started] == [record.id]


def test_agent_that_asks_twice_is_one_stream_with_the_sum(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices=PRICES)
    upstream.answer("one ", usage={"prompt_tokens": 10, "completion_tokens": 1})
    upstream.answer("two", finish_reason="length", usage={"prompt_tokens": 20, "completion_tokens": 2})
    seen: list[Any] = []

    def agent() -> Iterator[Any]:
        for prompt in ("first", "second"):
            for event in llm_of(app).events(prompt=prompt):
                seen.append(event)
                yield event
        yield " and a footer"

    answering(app, agent)
    events = read(app)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert text_of(events) == "one two and a footer"
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "length"}
    record = record_of(app)
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 30, 3)
    assert record.cost == (30 * Decimal(14) + 3 * Decimal(58)) / 1_000_000
    # what the agent itself sees of each call is a whole stream of its own
    assert [type(event) for event in seen] == [Start, Delta, Usage, Done] * 2
    assert [event.output_tokens for event in seen if isinstance(event, Usage)] == [1, 2]


def test_agent_that_passes_on_the_text_only_is_accounted_for_in_full(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    for words in ("draft", "final"):
        upstream.answer(words, usage={"prompt_tokens": 5, "completion_tokens": 4})

    def agent() -> Iterator[str]:
        draft = "".join(event.text for event in llm_of(app).events(prompt="a") if isinstance(event, Delta))
        yield from (event.text for event in llm_of(app).events(prompt=draft) if isinstance(event, Delta))

    answering(app, agent)
    events = read(app)
    assert (text_of(events), statuses(events)) == ("final", ["completed"])
    assert upstream.request(1).json["messages"][0]["content"] == "draft"
    assert (record_of(app).input_tokens, record_of(app).output_tokens) == (10, 8)


def test_part_without_figures_is_estimated_from_what_it_said(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("The quick brown fox jumps over the lazy dog.", usage=False)
    upstream.answer("known", usage={"prompt_tokens": 5, "completion_tokens": 4})

    def agent() -> Iterator[Any]:
        for _ in llm_of(app).events(prompt="hi"):
            pass
        yield from llm_of(app).events(prompt="hi")

    answering(app, agent)
    read(app)
    record = record_of(app)
    assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 8 + 5, 10 + 4)


def test_failure_of_a_part_is_the_streams_unless_another_part_follows(make_app: MakeApp, upstream: Upstream) -> None:
    for recovers in (False, True):
        app = make_app(LLMStream("llm", __name__, model="scripted", client=client_of(upstream)), retries=0)
        upstream.answer(status=400)
        upstream.answer("second try")

        def agent(app: Flask = app, recovers: bool = recovers) -> Iterator[Any]:
            yield from llm_of(app).events(prompt="hi")
            if recovers:
                yield from llm_of(app).events(prompt="hi")

        answering(app, agent)
        events = read(app)
        if recovers:
            assert kinds_of(events) == ["start", "delta", "usage", "done"]
            assert statuses(events) == ["completed"]
        else:
            assert of_kind(events, "failure")["code"] == "upstream_rejected"
            assert statuses(events) == ["failed"]
            assert record_of(app).source == "none"
            read_events(app.test_client().get("/llm/chat?prompt=hi").data)  # takes the answer that is left


def test_call_that_breaks_is_not_hidden_by_a_generator_that_passes_on_its_text(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()
    upstream.answer("Hel", Pause(0.1), Cut())

    def agent() -> Iterator[str]:
        yield from (event.text for event in llm_of(app).events(prompt="hi") if isinstance(event, Delta))

    answering(app, agent)
    events = read(app)
    assert text_of(events) == "Hel"
    assert of_kind(events, "failure")["code"] == "upstream_cut"
    assert statuses(events) == ["failed"]
    assert record_of(app).error_code == "upstream_cut"


def test_generator_that_copes_with_a_broken_call_says_so_with_a_done_of_its_own(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()
    upstream.answer(Pause(0.1), finish_reason=None)

    def agent() -> Iterator[Any]:
        if any(isinstance(event, Failure) for event in llm_of(app).events(prompt="hi")):
            yield "Sorry, I cannot say."
            yield Done("completed")

    answering(app, agent)
    events = read(app)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert statuses(events) == ["completed"]


def test_failure_of_ones_own_after_a_whole_part_is_the_streams(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("Hello")

    def agent() -> Iterator[Any]:
        yield from llm_of(app).events(prompt="hi")
        yield Failure("tool_failed", "The tool failed.", retryable=False, error_id="e1")

    answering(app, agent)
    events = read(app)
    assert of_kind(events, "failure")["code"] == "tool_failed"
    assert statuses(events) == ["failed"]
    assert (record_of(app).status, record_of(app).error_code) == ("failed", "tool_failed")


@pytest.mark.parametrize("before_headers", [True, False])
def test_stop_ends_the_stream_and_the_call_within_it(
    make_app: MakeApp, upstream: Upstream, before_headers: bool
) -> None:
    app = make_app()
    upstream.answer(Stall(before_headers=before_headers))
    steps: list[str] = []

    def agent() -> Iterator[Any]:
        yield "thinking "
        try:
            yield from llm_of(app).events(prompt="hi")
            steps.append("went on")
            yield "more"
            steps.append("and on")
        finally:
            steps.append("closed")

    answering(app, agent)
    client = app.test_client()
    answer = client.get("/view", buffered=False)
    stream_id = first_id(answer)
    asked = upstream.request(0)
    client.delete(f"/llm/streams/{stream_id}")
    assert asked.left.wait(SOON_S)
    eventually(lambda: app.extensions["records"])
    assert record_of(app).status == "cancelled"
    eventually(lambda: "closed" in steps)
    assert "and on" not in steps
    answer.close()


def test_call_that_is_made_after_the_end_is_a_stream_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    """A hook that asks for a title, say: the stream that it is told of is settled already."""
    app = make_app()
    titles: list[str] = []

    @llm_of(app).on_usage
    def title(record: Any) -> None:
        if record.owner != "titles":
            found = llm_of(app).events(prompt="a title, please", owner="titles")
            titles.extend(event.text for event in found if isinstance(event, Delta))

    upstream.answer("Hello")
    upstream.answer("Greetings")
    answering(app, lambda: llm_of(app).events(prompt="hi"))
    assert text_of(read(app)) == "Hello"
    assert titles == ["Greetings"]
    assert [record.owner for record in app.extensions["records"]] == ["127.0.0.1", "titles"]


def test_thread_that_outlives_its_generator_asks_for_itself(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("Hello")
    said: list[str] = []
    threads: list[threading.Thread] = []
    gate = Gate()

    def later() -> None:
        gate.opened.wait(PATIENCE_S)
        with app.app_context():
            said.extend(event.text for event in llm_of(app).events(prompt="hi") if isinstance(event, Delta))

    def generator() -> Iterator[str]:
        threads.append(threading.Thread(target=contextvars.copy_context().run, args=(later,)))
        threads[0].start()
        yield "text"

    answering(app, generator)
    read(app)
    gate.open()
    threads[0].join(PATIENCE_S)
    assert said == ["Hello"]
    assert [record.owner for record in app.extensions["records"]] == ["127.0.0.1", "local"]


def test_stopped_stream_buys_no_more_calls(make_app: MakeApp, upstream: Upstream) -> None:
    """An agent that does not yield cannot be closed, but each call of a model that it makes is at its end at once."""
    app = make_app()
    gate = Gate()
    seen: list[str] = []

    def agent() -> Iterator[Any]:
        yield "thinking"
        gate.reached.set()
        gate.opened.wait(PATIENCE_S)
        seen.extend(event.type for event in llm_of(app).events(prompt="hi"))

    answering(app, agent)
    client = app.test_client()
    answer = client.get("/view", buffered=False)
    stream_id = first_id(answer)
    gate.reached.wait(PATIENCE_S)
    client.delete(f"/llm/streams/{stream_id}")
    gate.open()
    eventually(lambda: seen)
    assert seen == ["start", "usage", "done"]
    assert not upstream.requests
    assert record_of(app).status == "cancelled"
    answer.close()


def test_call_that_is_kept_to_the_generator_is_no_silence(make_app: MakeApp, upstream: Upstream) -> None:
    """Deadlines are for a model that says nothing, not for an agent that does not pass on what it says."""
    app = make_app(first_token_s=2, idle_s=2)
    for _ in range(2):
        upstream.answer(*[step for _ in range(6) for step in ("word ", Pause(0.5))])

    def agent() -> Iterator[Any]:
        for _ in range(2):
            yield "".join(event.text for event in llm_of(app).events(prompt="hi") if isinstance(event, Delta))

    answering(app, agent)
    events = read(app)
    assert statuses(events) == ["completed"]
    assert text_of(events) == 2 * 6 * "word "


def test_silence_between_two_calls_is_bounded_like_any(make_app: MakeApp, upstream: Upstream) -> None:
    """The end of the first call is no end of the stream."""
    app = make_app(idle_s=0.5)
    upstream.answer("Hello")
    gate = Gate()

    def agent() -> Iterator[Any]:
        yield from llm_of(app).events(prompt="hi")
        gate.opened.wait(PATIENCE_S)

    answering(app, agent)
    events = read(app)
    assert of_kind(events, "failure")["code"] == "idle_timeout"
    gate.open()


def test_call_that_is_left_in_the_middle_is_closed_and_paid_for(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("The quick brown fox ", Stall())
    upstream.answer("jumps", usage={"prompt_tokens": 5, "completion_tokens": 1})

    def agent() -> Iterator[Any]:
        for event in llm_of(app).events(prompt="hi"):
            if isinstance(event, Delta):
                yield event
                break
        yield from llm_of(app).events(prompt="hi")

    answering(app, agent)
    assert text_of(read(app)) == "The quick brown fox jumps"
    assert upstream.request(0).left.wait(SOON_S)
    record = record_of(app)
    assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 8 + 5, 5 + 1)


def test_tool_calls_of_several_calls_are_numbered_on(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    for name in ("look", "listen"):
        call = {"index": 0, "id": f"c-{name}", "function": {"name": name, "arguments": "{}"}}
        upstream.answer({"choices": [{"index": 0, "delta": {"tool_calls": [call]}}]}, finish_reason="tool_calls")
    seen: list[int] = []

    def agent() -> Iterator[Any]:
        for _ in range(2):
            for event in llm_of(app).events(prompt="hi"):
                if isinstance(event, ToolCall):
                    seen.append(event.index)
                yield event

    answering(app, agent)
    calls = [data for _, kind, data in read(app) if kind == "tool_call"]
    assert [(call["index"], call["name"]) for call in calls] == [(0, "look"), (1, "listen")]
    assert seen == [0, 1]


def test_events_within_a_generator_of_events_are_part_of_it(make_app: MakeApp, upstream: Upstream) -> None:
    """The same without a request: a job that wraps an agent."""
    app = make_app()
    upstream.answer("Hello", usage={"prompt_tokens": 5, "completion_tokens": 4})
    with app.app_context():
        inner = llm_of(app).events(prompt="hi")
        events = list(llm_of(app).events((event for event in inner), owner="job"))
    assert [type(event) for event in events] == [Start, Delta, Usage, Done]
    assert (record_of(app).owner, record_of(app).output_tokens) == ("job", 4)


# Its budget…


@pytest.fixture
def ledger(tmp_path: Path) -> SQLite:
    return SQLite(tmp_path)


def in_rupees(app: MakeApp, ledger: SQLite, limit: int) -> Flask:
    budgets = {"day": str(limit), "currency": "INR"}
    return app(ledger_url=ledger.url, budgets=budgets, prices=A_RUPEE_A_TOKEN, max_output_tokens=10)


def budget_row(ledger: SQLite) -> tuple[int, int]:
    (row,) = ledger.rows("SELECT * FROM llm_stream_budgets")
    return row["spent"] // 10**12, row["reserved"] // 10**12


def word_with_figures(count: int) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": "word "}, "finish_reason": None}
    return {"choices": [choice], "usage": {"prompt_tokens": 1, "completion_tokens": count}}


@pytest.mark.parametrize("model", [None, "scripted"])
def test_calls_within_a_stream_share_its_budget(
    make_app: MakeApp, upstream: Upstream, ledger: SQLite, model: str | None
) -> None:
    app = in_rupees(make_app, ledger, 25)
    for _ in range(4):  # with figures in each chunk, as some providers send them
        words = [step for count in (1, 2, 3, 4) for step in (word_with_figures(count), Pause(0.02))]
        upstream.answer(*words, usage=False)

    def agent() -> Iterator[Any]:
        for _ in range(4):
            yield from llm_of(app).events(prompt="hi")

    answering(app, agent, model=model)
    # each may cost 10 at most; 4 × 10 would not fit, but what one has not used is there for the next
    events = read(app)
    assert statuses(events) == ["completed"]
    assert record_of(app).cost == 16
    assert budget_row(ledger) == (16, 0)


def test_call_that_does_not_fit_is_not_made_and_ends_the_stream(
    make_app: MakeApp, upstream: Upstream, ledger: SQLite
) -> None:
    app = in_rupees(make_app, ledger, 15)
    for _ in range(2):
        upstream.answer("1 2 3 4 5 6 7 8", usage={"prompt_tokens": 1, "completion_tokens": 8})

    def agent() -> Iterator[Any]:
        for _ in range(2):
            for event in llm_of(app).events(prompt="hi"):
                if isinstance(event, Delta):
                    yield event

    answering(app, agent)
    events = read(app)
    assert statuses(events) == ["over_budget"]
    assert of_kind(events, "failure")["code"] == "over_budget"
    assert len(upstream.requests) == 1
    assert (record_of(app).status, record_of(app).cost) == ("over_budget", 8)
    assert budget_row(ledger) == (8, 0)


# A stream of the SDK…


def client_of(upstream: Upstream) -> OpenAI:
    return OpenAI(base_url=upstream.base_url, api_key="sk-secret", max_retries=0)


def sdk_stream(client: OpenAI, *, usage: bool = True) -> Any:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if usage else {}
    messages: Any = [{"role": "user", "content": "hi"}]
    create: Any = client.chat.completions.create
    return create(model="scripted", messages=messages, stream=True, max_tokens=100, **options)


def test_stream_of_the_sdk_is_recorded_as_its_own_model(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices=PRICES)
    headers = {"x-request-id": "req-7"}
    upstream.answer("Hel", "lo", headers=headers, usage={"prompt_tokens": 10, "completion_tokens": 2})
    client = client_of(upstream)
    answering(app, lambda: sdk_stream(client))
    events = read(app)
    assert kinds_of(events) == ["start", "delta", "usage", "done"]
    assert of_kind(events, "start")["model"] == "scripted"
    record = record_of(app)
    assert (record.model, record.upstream_model, record.request_id) == ("scripted", "scripted", "req-7")
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 10, 2)
    assert record.cost == (10 * Decimal(14) + 2 * Decimal(58)) / 1_000_000
    client.close()


def test_stream_of_the_sdk_without_figures_is_estimated_as_our_own_calls_are(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app(prices=PRICES)
    text = "The quick brown fox jumps over the lazy dog."
    upstream.answer(text, usage=False)
    upstream.answer(text, usage=False)
    client = client_of(upstream)
    answering(app, lambda: sdk_stream(client, usage=False))
    read(app)
    read(app, "/llm/chat?prompt=hi")
    theirs, ours = app.extensions["records"]
    for record in (theirs, ours):
        assert (record.source, record.input_tokens, record.output_tokens) == ("estimated", 8, 10)
    assert theirs.cost == ours.cost is not None
    client.close()


def test_generator_over_the_sdks_chunks_takes_model_and_figures_from_them(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app(prices=PRICES)
    upstream.answer("one ", usage={"prompt_tokens": 10, "completion_tokens": 1})
    upstream.answer("two", usage={"prompt_tokens": 20, "completion_tokens": 2})
    client = client_of(upstream)

    def agent() -> Iterator[Any]:
        for number in range(2):
            for chunk in sdk_stream(client):
                chunk.id = f"gen-{number}"
                yield chunk

    answering(app, agent)
    events = read(app)
    assert text_of(events) == "one two"
    assert statuses(events) == ["completed"]
    assert "model" not in of_kind(events, "start"), "nobody knows it yet, and a Python name is no model"
    record = record_of(app)
    assert (record.model, record.upstream_model, record.request_id) == (None, "scripted", "gen-1")
    assert (record.source, record.input_tokens, record.output_tokens) == ("provider", 30, 3)
    assert record.cost == (30 * Decimal(14) + 3 * Decimal(58)) / 1_000_000
    client.close()


def test_generator_has_the_model_that_it_is_given_or_none(make_app: MakeApp, upstream: Upstream) -> None:
    for given in (None, "my-agent"):
        app = make_app(LLMStream("llm", __name__, model="scripted"))
        answering(app, lambda: iter(["text"]), model=given)
        events = read(app)
        assert of_kind(events, "start").get("model") == given
        record = record_of(app)
        assert (record.model, record.source, record.cost) == (given, "estimated", None)
        assert f"model={given!r}" in str(record) or (given is None and "model=unknown" in str(record))


def test_stop_closes_the_sdks_connection_while_the_model_is_silent(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    upstream.answer("Hello", Stall())
    client = client_of(upstream)
    answering(app, lambda: sdk_stream(client))
    browser = app.test_client()
    answer = browser.get("/view", buffered=False)
    stream_id = first_id(answer)
    asked = upstream.request(0)
    browser.delete(f"/llm/streams/{stream_id}")
    assert asked.left.wait(SOON_S)
    eventually(lambda: app.extensions["records"])
    assert (record_of(app).status, record_of(app).source) == ("cancelled", "estimated")
    answer.close()
    client.close()


def test_stream_of_the_sdk_that_breaks_off_is_told_so(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    client = client_of(upstream)
    answering(app, lambda: sdk_stream(client))
    upstream.answer("Hel", Pause(0.1), Cut())
    events = read(app)
    assert of_kind(events, "failure")["code"] == "upstream_cut"
    assert record_of(app).status == "failed"
    client.close()


def test_error_of_the_sdk_keeps_its_meaning(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    client = client_of(upstream)

    def agent() -> Iterator[Any]:
        yield from sdk_stream(client)

    answering(app, agent)
    upstream.answer(status=429, headers={"Retry-After": "7"})
    failure = of_kind(read(app), "failure")
    assert (failure["code"], failure["retry_after"]) == ("upstream_throttled", 7.0)
    client.close()


def test_budget_takes_the_figures_of_the_sdks_chunks(make_app: MakeApp, upstream: Upstream, ledger: SQLite) -> None:
    app = in_rupees(make_app, ledger, 25)
    client = client_of(upstream)
    for _ in range(2):
        upstream.answer("word", usage={"prompt_tokens": 1, "completion_tokens": 20})
    upstream.answer("word", Stall())
    answering(app, lambda: sdk_stream(client))
    assert statuses(read(app)) == ["completed"]
    assert budget_row(ledger) == (20, 0)
    read(app)
    refused = app.test_client().get("/view")
    assert (refused.status_code, refused.json["error"]["code"]) == (402, "over_budget")
    assert upstream.request(2).left.wait(SOON_S), "the call that was made for it is closed"
    client.close()


# In which order the app is told…


def test_start_is_told_before_anything_else_of_the_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    told: list[str] = []
    llm_of(app).on_usage(lambda record: told.append("on_usage"))

    def generator() -> Iterator[str]:
        told.append("generator")
        yield "text"

    def started(_: Flask, **stream: Any) -> None:
        threading.Event().wait(0.05)  # a slow receiver is waited for
        told.append("stream_started")

    answering(app, generator)
    with stream_started.connected_to(started, app):
        read(app)
    assert told == ["stream_started", "generator", "on_usage"]


def test_failure_made_by_hand_is_passed_on(make_app: MakeApp) -> None:
    app = make_app()
    failure = Failure("mine", "words", False, "e1")
    answering(app, lambda: iter(["text", failure]))
    events = read(app)
    assert of_kind(events, "failure")["code"] == "mine"
    assert statuses(events) == ["failed"]
