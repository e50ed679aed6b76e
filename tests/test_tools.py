"""Tools that run here: the model calls them, and is called again with their results, in one stream."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from collections.abc import Generator
from typing import Any

import pytest
from flask import Flask
from flask import current_app
from flask import request
from flask import session

from llm_stream import Data
from llm_stream import Delta
from llm_stream import LLMStream
from llm_stream import Source
from llm_stream import ToolError
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .calling import call
from .calling import calling
from .conftest import PATIENCE_S
from .conftest import Event
from .conftest import eventually
from .conftest import of_kind
from .conftest import text_of

MakeApp = Callable[..., Flask]

WEATHER = {"city": "Pune"}


def llm_of(app: Flask) -> LLMStream:
    return app.blueprints["llm"]  # type: ignore[return-value]


def ask(app: Flask, path: str = "/llm/chat?prompt=hi") -> list[Event]:
    return read_events(app.test_client().get(path).data)


def kinds(events: list[Event]) -> list[str]:
    return [kind for _, kind, _ in events]


def results_in(events: list[Event]) -> list[dict[str, Any]]:
    return [data for _, kind, data in events if kind == "tool_result"]


def messages_of(upstream: Upstream, number: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.requests[number].json["messages"]
    return messages


def test_tool_runs_and_the_model_goes_on_in_the_same_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def weather(city: str, days: int = 1) -> dict[str, Any]:
        """The weather of a city."""
        return {"city": city, "days": days, "sky": "clear"}

    calling(upstream, call("weather", city="Pune"), text="One moment. ")
    upstream.answer("Clear.")
    events = ask(app)
    assert kinds(events) == [
        "start", "delta", "tool_call", "tool_result", "step", "delta", "usage", "done",
    ]  # fmt: skip
    assert of_kind(events, "tool_call") == {
        "index": 0, "id": "call_weather", "name": "weather", "arguments": '{"city": "Pune"}', "server": True,
    }  # fmt: skip
    result = {"city": "Pune", "days": 1, "sky": "clear"}
    assert of_kind(events, "tool_result") == {"id": "call_weather", "name": "weather", "result": result}
    assert of_kind(events, "step") == {"number": 2}
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "stop"}
    assert text_of(events) == "One moment. Clear."
    first, second = (request.json for request in upstream.requests)
    (tool,) = first["tools"]
    assert (tool["function"]["name"], tool["function"]["description"]) == ("weather", "The weather of a city.")
    assert second["tools"] == first["tools"]
    assert second["messages"] == [
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": "One moment. ",
            "tool_calls": [
                {
                    "id": "call_weather",
                    "type": "function",
                    "function": {"name": "weather", "arguments": '{"city": "Pune"}'},
                }
            ],
        },
        {"role": "tool", "tool_call_id": "call_weather", "content": json.dumps(result, separators=(",", ":"))},
    ]


def test_usage_of_all_steps_is_in_one_record(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(prices={"scripted": {"input": "1", "output": "2", "currency": "INR"}})
    llm_of(app).tool(weather_of(app))
    figures = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    calling(upstream, call("weather"), usage=figures)
    calling(upstream, call("weather", id="b"), usage=figures)
    upstream.answer("Clear.")
    ask(app)
    (record,) = app.extensions["records"]
    assert record.source == "provider"
    assert record.output_tokens == 5 + 5 + 1
    assert record.input_tokens > 20


def weather_of(app: Flask) -> Callable[[], str]:
    def weather() -> str:
        assert current_app == app
        return "clear"

    return weather


def test_estimate_of_a_stopped_step_does_not_count_the_steps_before_it_again(
    make_app: MakeApp, upstream: Upstream
) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    figures = {"prompt_tokens": 10, "completion_tokens": 500, "total_tokens": 510}
    calling(upstream, call("weather"), text="word " * 100, usage=figures)
    upstream.answer("Clear.", Stall())
    with app.app_context():
        events = llm_of(app).events(prompt="hi")
        for event in events:
            if event == Delta("Clear."):
                break
        events.close()  # type: ignore[attr-defined]
    (record,) = app.extensions["records"]
    assert record.status == "cancelled"
    assert 500 < record.output_tokens < 510


def test_calls_of_one_step_run_in_the_order_given(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    ran: list[int] = []

    @llm_of(app).tool
    def note(number: int) -> int:
        ran.append(number)
        return number

    calling(upstream, *(call("note", id=f"c{number}", number=number) for number in range(4)))
    upstream.answer("Done.")
    events = ask(app)
    assert ran == [0, 1, 2, 3]
    assert [result["id"] for result in results_in(events)] == ["c0", "c1", "c2", "c3"]
    assert [data["index"] for _, kind, data in events if kind == "tool_call"] == [0, 1, 2, 3]
    assert [message.get("tool_call_id") for message in messages_of(upstream, 1)[2:]] == ["c0", "c1", "c2", "c3"]


def test_tool_calls_are_numbered_on_over_the_steps(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    calling(upstream, call("weather", id="a"), call("weather", id="b"))
    calling(upstream, call("weather", id="c"))
    upstream.answer("Done.")
    assert [data["index"] for _, kind, data in ask(app) if kind == "tool_call"] == [0, 1, 2]


def test_ids_that_a_server_gives_twice_are_told_apart(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    for _ in range(2):
        calling(upstream, call("weather", id="0"))
    upstream.answer("Done.")
    events = ask(app)
    called = [data["id"] for _, kind, data in events if kind == "tool_call"]
    assert called[0] == "0" != called[1]
    assert [result["id"] for result in results_in(events)] == called
    messages = messages_of(upstream, 2)
    assert [call["id"] for message in messages for call in message.get("tool_calls", ())] == called
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == called


def test_concurrent_tools_run_together_and_their_results_come_in_order(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    both = threading.Barrier(2, timeout=PATIENCE_S)

    @llm_of(app).tool(concurrent=True)
    def meet(name: str) -> str:
        both.wait()
        return name

    calling(upstream, call("meet", id="a", name="a"), call("meet", id="b", name="b"))
    upstream.answer("Met.")
    assert [result["result"] for result in results_in(ask(app))] == ["a", "b"]


def test_tool_has_the_request_and_an_app_context(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    app.secret_key = "s"
    seen = []

    @llm_of(app).tool
    def look() -> None:
        seen.append((current_app.name, request.args["prompt"], dict(session)))

    calling(upstream, call("look"))
    upstream.answer("Done.")
    events = ask(app)
    assert seen == [(app.name, "hi", {})]
    assert of_kind(events, "tool_result") == {"id": "call_look", "name": "look", "result": None}
    assert messages_of(upstream, 1)[-1]["content"] == "null"


def test_generator_yields_events_and_returns_its_result(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def search(query: str) -> Generator[Any, None, list[str]]:
        yield Data("progress", {"found": 1}, transient=True)
        yield Source("https://example.com/a", "A")
        return [query]

    calling(upstream, call("search", query="x"))
    upstream.answer("Found.")
    events = ask(app)
    assert kinds(events) == ["start", "tool_call", "data", "source", "tool_result", "step", "delta", "usage", "done"]
    assert of_kind(events, "data") == {"name": "progress", "data": {"found": 1}, "transient": True}
    assert of_kind(events, "tool_result")["result"] == ["x"]


# What goes wrong


def told(app: Flask, upstream: Upstream, made: dict[str, Any]) -> str:
    """What the model and the reader are told of a call that has no result."""
    calling(upstream, made)
    upstream.answer("Sorry.")
    events = ask(app)
    assert of_kind(events, "done")["status"] == "completed"
    result = of_kind(events, "tool_result")
    assert "result" not in result
    assert messages_of(upstream, -1)[-1]["content"] == result["error"]
    error: str = result["error"]
    return error


def test_tool_that_raises_is_told_in_our_words_and_logged(
    make_app: MakeApp, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    @llm_of(app).tool
    def broken() -> None:
        raise ValueError("the password is 1234")

    error = told(app, upstream, call("broken"))
    assert error.startswith("The tool failed (error_id ")
    assert error[:-2].rpartition(" ")[2] in caplog.text
    assert "1234" in caplog.text
    assert "1234" not in error


def test_tool_may_tell_the_model_what_went_wrong(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def find(name: str) -> None:
        raise ToolError(f"There is no city named {name}.")

    assert told(app, upstream, call("find", name="X")) == "There is no city named X."


def test_wrong_arguments_are_told_with_the_validations_message(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def find(days: int) -> None:
        raise AssertionError("must not run")

    error = told(app, upstream, call("find", days="many", city="X"))
    assert "days: Input should be a valid integer" in error
    assert "city: Extra inputs are not permitted" in error


def test_unknown_tool_is_told(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    assert told(app, upstream, call("wetter")) == "There is no tool of this name."


@pytest.mark.parametrize("result", [object(), "\ud800", "x" * 300_000])
def test_result_that_cannot_be_sent_is_an_error(make_app: MakeApp, upstream: Upstream, result: Any) -> None:
    app = make_app()

    @llm_of(app).tool
    def odd() -> Any:
        return result

    assert told(app, upstream, call("odd")).startswith(("The tool failed", "The tool's result is too large"))


def test_tool_that_misses_its_deadline_is_left_alone(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(tool_s=0.05)
    gate = threading.Event()

    @llm_of(app).tool
    def slow() -> str:
        gate.wait(PATIENCE_S)
        return "late"

    try:
        assert told(app, upstream, call("slow")) == "The tool took too long."
    finally:
        gate.set()


def test_slow_tool_may_have_a_deadline_of_its_own(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(tool_s=0.01, idle_s=0.2)
    gate = threading.Event()

    @llm_of(app).tool(deadline_s=30)
    def slow() -> str:
        gate.wait(0.6)  # longer than the stream may be silent
        return "in time"

    calling(upstream, call("slow"))
    upstream.answer("Done.")
    assert of_kind(ask(app), "tool_result")["result"] == "in time"


def test_number_of_steps_is_limited(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(max_steps=2)
    ran = []

    @llm_of(app).tool
    def again() -> None:
        ran.append(1)

    calling(upstream, call("again", id="a"))
    calling(upstream, call("again", id="b"))
    events = ask(app)
    assert of_kind(events, "done") == {"status": "incomplete", "finish_reason": "max_steps"}
    assert (len(ran), len(upstream.requests)) == (1, 2)


def test_step_that_fails_fails_the_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(retries=0)
    llm_of(app).tool(weather_of(app))
    calling(upstream, call("weather"))
    upstream.answer(status=500)
    events = ask(app)
    assert of_kind(events, "done")["status"] == "failed"
    (record,) = app.extensions["records"]
    assert record.source == "provider"  # of the first step; the second one bought nothing


def test_stop_ends_a_stream_inside_a_tool(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    running, gate = threading.Event(), threading.Event()

    @llm_of(app).tool
    def slow() -> None:
        running.set()
        gate.wait(PATIENCE_S)

    calling(upstream, call("slow"))
    client = app.test_client()
    started = client.post("/llm/streams", json={"prompt": "hi"}).json
    assert started is not None
    try:
        assert running.wait(PATIENCE_S)
        client.delete(started["url"])
        events = read_events(client.get(started["url"]).data)
        assert of_kind(events, "done") == {"status": "cancelled"}
        assert "tool_result" not in kinds(events)
    finally:
        gate.set()
    assert len(upstream.requests) == 1


def test_stream_without_readers_ends_inside_a_tool(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(disconnect_grace_s=0.1)
    gate = threading.Event()

    @llm_of(app).tool
    def slow() -> None:
        gate.wait(PATIENCE_S)

    calling(upstream, call("slow"))
    app.test_client().post("/llm/streams", json={"prompt": "hi"})
    try:
        eventually(lambda: app.extensions["records"], "the record")
    finally:
        gate.set()
    assert app.extensions["records"][0].status == "abandoned"


def test_deadline_of_the_stream_ends_it_inside_a_tool(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app(total_s=0.3)
    gate = threading.Event()

    @llm_of(app).tool
    def slow() -> None:
        gate.wait(PATIENCE_S)

    calling(upstream, call("slow"))
    try:
        assert of_kind(ask(app), "done")["status"] == "timed_out"
    finally:
        gate.set()


# Tools of the reader, and those of a view


BROWSER_TOOL = {"type": "function", "function": {"name": "locate", "parameters": {"type": "object"}}}


def test_tool_of_the_reader_ends_the_answer_after_those_that_run_here(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    calling(upstream, call("locate"), call("weather"))
    body = {"prompt": "hi", "tools": [BROWSER_TOOL]}
    events = read_events(app.test_client().post("/llm/chat", json=body).data)
    assert [data.get("server", False) for _, kind, data in events if kind == "tool_call"] == [False, True]
    assert [result["name"] for result in results_in(events)] == ["weather"]
    assert of_kind(events, "done") == {"status": "completed", "finish_reason": "tool_calls"}
    offered = [tool["function"]["name"] for tool in upstream.requests[0].json["tools"]]
    assert offered == ["locate", "weather"]


def test_reader_cannot_replace_a_tool_of_the_server(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()

    @llm_of(app).tool
    def locate() -> None:
        raise AssertionError("must not run")

    answer = app.test_client().post("/llm/chat", json={"prompt": "hi", "tools": [BROWSER_TOOL]})
    assert answer.status_code == 422
    assert "'locate'" in answer.json["error"]["message"]
    assert not upstream.requests


def test_view_chooses_its_tools(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm = llm_of(app)
    weather = llm.tool(weather_of(app))

    def once(city: str) -> str:
        return f"only in {city}"

    app.add_url_rule("/none", view_func=lambda: llm.respond(prompt="hi", tools=[]), endpoint="none")
    app.add_url_rule("/own", view_func=lambda: llm.respond(prompt="hi", tools=[once, weather]), endpoint="own")
    upstream.answer("Hello")
    ask(app, "/none")
    assert "tools" not in upstream.requests[0].json
    calling(upstream, call("once", city="Pune"))
    upstream.answer("Done.")
    assert of_kind(ask(app, "/own"), "tool_result")["result"] == "only in Pune"
    assert [tool["function"]["name"] for tool in upstream.requests[1].json["tools"]] == ["once", "weather"]


def test_tool_choice_holds_for_the_first_step_only(make_app: MakeApp, upstream: Upstream) -> None:
    """A choice that forces a call would force one in every step."""
    app = make_app()
    llm_of(app).tool(weather_of(app))
    calling(upstream, call("weather"))
    upstream.answer("Clear.")
    body = {"messages": [{"role": "user", "content": "hi"}], "tool_choice": "required", "stream": True}
    app.test_client().post("/llm/v1/chat/completions", json=body).get_data()
    first, second = (asked.json for asked in upstream.requests)
    assert first["tool_choice"] == "required"
    assert "tool_choice" not in second


def test_tools_run_in_events_too(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm_of(app).tool(weather_of(app))
    calling(upstream, call("weather"))
    upstream.answer("Clear.")
    with app.app_context():
        found = [event.type for event in llm_of(app).events(prompt="hi")]
    assert found == ["start", "tool_call", "tool_result", "step", "delta", "usage", "done"]


# Tools that ask a model


def test_model_that_a_tool_asks_is_part_of_the_stream(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm = llm_of(app)

    @llm.tool
    def summarise(text: str) -> str:
        return "".join(event.text for event in llm.events(prompt=text) if isinstance(event, Delta))

    figures = {"prompt_tokens": 1, "completion_tokens": 100, "total_tokens": 101}
    calling(upstream, call("summarise", text="long"), usage=figures)
    upstream.answer("Short.")
    upstream.answer("It is short.")
    events = ask(app)
    assert of_kind(events, "tool_result")["result"] == "Short."
    assert text_of(events) == "It is short."
    assert "tools" not in upstream.requests[1].json  # or it might call itself for ever
    (record,) = app.extensions["records"]
    assert record.output_tokens == 100 + 1 + 1


def test_stop_ends_the_model_that_a_tool_asks(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm = llm_of(app)
    ends: list[str] = []

    @llm.tool
    def summarise() -> None:
        ends.extend(event.status for event in llm.events(prompt="x") if event.type == "done")  # type: ignore[attr-defined]

    gate = Gate()
    calling(upstream, call("summarise"))
    upstream.answer("Sh", gate, Stall())
    client = app.test_client()
    started = client.post("/llm/streams", json={"prompt": "hi"}).json
    assert started is not None
    assert gate.reached.wait(PATIENCE_S)
    gate.open()
    client.delete(started["url"])
    assert of_kind(read_events(client.get(started["url"]).data), "done") == {"status": "cancelled"}
    eventually(lambda: ends == ["cancelled"], "the end of the part")


def test_generator_may_use_tools_in_its_parts(make_app: MakeApp, upstream: Upstream) -> None:
    app = make_app()
    llm = llm_of(app)
    llm.tool(weather_of(app))
    calling(upstream, call("weather"))
    upstream.answer("Clear.")
    app.add_url_rule("/agent", view_func=lambda: llm.respond(llm.events(prompt="hi")), endpoint="agent")
    events = ask(app, "/agent")
    assert kinds(events) == ["start", "tool_call", "tool_result", "step", "delta", "usage", "done"]
    assert len(app.extensions["records"]) == 1
