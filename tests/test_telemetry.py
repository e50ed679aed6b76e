"""What OpenTelemetry is told: one span for every ending, a child of its request's, and no figure that is not known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from time import sleep
from typing import Any

import httpx2
import pytest
from flask import Flask
from flask import abort
from flask import request
from openai import OpenAI
from opentelemetry import metrics
from opentelemetry import trace
from opentelemetry.sdk.metrics import Histogram
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from opentelemetry.trace import StatusCode
from prometheus_client.parser import text_string_to_metric_families

from llm_stream import LLMStream
from llm_stream.errors import Interrupted
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Pause
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.usage.telemetry import SECOND_BUCKETS
from llm_stream.usage.telemetry import TOKEN_BUCKETS
from llm_stream.usage.telemetry import _provider

from .conftest import ROOT
from .conftest import Connection
from .conftest import Server
from .conftest import eventually
from .databases import SQLite

MakeApp = Callable[..., Flask]

TOKENS = "gen_ai.client.token.usage"
DURATION = "gen_ai.client.operation.duration"
FIRST_CHUNK = "gen_ai.client.operation.time_to_first_chunk"
PER_CHUNK = "gen_ai.client.operation.time_per_output_chunk"
ACTIVE = "llm_stream.active_streams"
REFUSED = "llm_stream.refused_requests"
UNWRITTEN = "llm_stream.unwritten_records"
NO_ATTRIBUTES: Mapping[str, str] = {}


class Told:
    """The SDK's own in-memory exporters."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        tracing = TracerProvider()
        tracing.add_span_processor(SimpleSpanProcessor(self.exporter))
        trace.set_tracer_provider(tracing)
        self.reader = InMemoryMetricReader({Histogram: AggregationTemporality.DELTA})
        metrics.set_meter_provider(MeterProvider([self.reader]))

    def clear(self) -> None:
        self.exporter.clear()
        self.metrics()

    @property
    def spans(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.name != "request"]

    @property
    def span(self) -> ReadableSpan:
        """The only one."""
        (span,) = self.spans
        return span

    def metrics(self) -> dict[str, list[Any]]:
        """The points of each metric since the last look."""
        data = self.reader.get_metrics_data()
        if data is None:
            return {}
        return {
            metric.name: list(metric.data.data_points)
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def value(self, name: str, attributes: Mapping[str, str] = NO_ATTRIBUTES) -> int:
        """The sum of a metric's points that have these attributes."""
        points = self.metrics().get(name, [])
        return sum(point.value for point in points if attributes.items() <= point.attributes.items())


@pytest.fixture(scope="module")
def providers() -> Iterator[Told]:
    """The providers of a process can be set once."""
    told = Told()
    yield told
    told.exporter.shutdown()


@pytest.fixture
def told(providers: Told) -> Told:
    providers.clear()
    return providers


def in_request(work: Callable[[], Any]) -> tuple[Any, ReadableSpan]:
    """What `work` gives, done in the span of a request as an instrumentation of Flask makes it."""
    with trace.get_tracer(__name__).start_as_current_span("request") as request:
        given = work()
    assert isinstance(request, ReadableSpan)
    return given, request


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_span_and_metrics_of_an_answer(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    details = {"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 1}}
    upstream.answer("a", Pause(0.05), "b", "c", usage={"prompt_tokens": 10, "completion_tokens": 4, **details})
    app = make_app(prices={"scripted": {"input": "14", "output": "58", "currency": "INR"}})
    _, request = in_request(lambda: app.test_client().get("/llm/chat?prompt=hi").data)
    record, span = app.extensions["records"][0], told.span
    assert (span.name, span.kind, span.status.status_code) == ("chat scripted", SpanKind.CLIENT, StatusCode.UNSET)
    assert span.parent is not None and request.context is not None and span.context is not None
    assert (span.parent.span_id, span.context.trace_id) == (request.context.span_id, request.context.trace_id)
    assert span.start_time is not None and span.end_time is not None
    assert (span.end_time - span.start_time) / 1e9 == pytest.approx(record.duration_s)
    call = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "scripted",
        "gen_ai.response.model": "scripted",
        "server.address": "127.0.0.1",
        "server.port": int(upstream.base_url.split(":")[2].removesuffix("/v1")),
    }
    assert attributes(span) == call | {
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.response.time_to_first_chunk": record.ttft_s,
        "gen_ai.usage.input_tokens": 10,
        "gen_ai.usage.output_tokens": 4,
        "gen_ai.usage.cache_read.input_tokens": 3,
        "gen_ai.usage.reasoning.output_tokens": 1,
        "llm_stream.id": record.id,
        "llm_stream.status": "completed",
        "llm_stream.usage.source": "provider",
        "llm_stream.cost": float(record.cost),
        "llm_stream.currency": "INR",
        "llm_stream.price_source": "LLM_STREAM_PRICES",
    }
    points = told.metrics()
    for name, value in {DURATION: record.duration_s, FIRST_CHUNK: record.ttft_s}.items():
        (point,) = points[name]
        assert (point.count, point.sum, dict(point.attributes)) == (1, value, call)
        assert list(point.explicit_bounds) == SECOND_BUCKETS == pytest.approx([0.01 * 2**n for n in range(14)])
    (point,) = points[PER_CHUNK]
    assert 0 < point.sum < record.duration_s
    counted = {point.attributes["gen_ai.token.type"]: point for point in points[TOKENS]}
    assert {kind: point.sum for kind, point in counted.items()} == {"input": 10, "output": 4}
    assert list(counted["input"].explicit_bounds) == TOKEN_BUCKETS
    assert (TOKEN_BUCKETS[0], TOKEN_BUCKETS[-1]) == (1, 67108864)
    assert dict(counted["input"].attributes) == call | {
        "gen_ai.token.type": "input",
        "llm_stream.usage.source": "provider",
    }


def completes(app: Flask, upstream: Upstream) -> None:
    upstream.answer("Hello")
    app.test_client().get("/llm/chat?prompt=hi").get_data()


def is_cut_by_its_length(app: Flask, upstream: Upstream) -> None:
    upstream.answer("Hello", finish_reason="length")
    app.test_client().get("/llm/chat?prompt=hi").get_data()


def is_refused(app: Flask, upstream: Upstream) -> None:
    upstream.answer(status=401)
    app.test_client().get("/llm/chat?prompt=hi").get_data()


def breaks_off(app: Flask, upstream: Upstream) -> None:
    upstream.answer("Hel", Pause(0.1), Cut())
    app.test_client().get("/llm/chat?prompt=hi").get_data()


def stays_silent(app: Flask, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    app.test_client().get("/llm/chat?prompt=hi").get_data()


def is_stopped(app: Flask, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate)
    client = app.test_client()
    url = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    gate.reached.wait()
    client.delete(url)
    client.get(url).get_data()
    gate.open()


def is_left(app: Flask, upstream: Upstream) -> None:
    upstream.answer("Hel", Stall())
    app.test_client().post("/llm/streams", json={"prompt": "hi"})
    eventually(lambda: app.extensions["records"], "the record of an answer that nobody reads")


def is_interrupted(app: Flask, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hel", gate)
    client = app.test_client()
    url = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    gate.reached.wait()
    llm: Any = app.blueprints["llm"]
    with app.app_context():
        for stream in llm.state.streams.running():
            stream.fail(Interrupted())
    client.get(url).get_data()
    gate.open()


ENDINGS = [
    (completes, "completed", "provider", None),
    (is_cut_by_its_length, "incomplete", "provider", None),
    (is_refused, "failed", "none", "upstream_refused"),
    (breaks_off, "failed", "estimated", "upstream_cut"),
    (stays_silent, "timed_out", "estimated", "idle_timeout"),
    (is_stopped, "cancelled", "estimated", None),
    (is_left, "abandoned", "estimated", None),
    (is_interrupted, "interrupted", "estimated", "interrupted"),
]


@pytest.mark.parametrize(("ending", "status", "source", "error"), ENDINGS)
def test_every_ending_has_one_span_of_its_request(
    make_app: MakeApp,
    upstream: Upstream,
    told: Told,
    ending: Callable[[Flask, Upstream], None],
    status: str,
    source: str,
    error: str | None,
) -> None:
    app = make_app(idle_s=5 if ending is is_left else 0.3, disconnect_grace_s=0.1 if ending is is_left else 5)
    _, request = in_request(lambda: ending(app, upstream))
    span = eventually(lambda: told.spans, "its span") and told.span
    said = attributes(span)
    assert (said["llm_stream.status"], said["llm_stream.usage.source"]) == (status, source)
    assert said.get("error.type") == error
    assert (span.status.status_code, span.status.description) == (
        (StatusCode.ERROR, error) if error else (StatusCode.UNSET, None)
    )
    assert span.parent is not None and request.context is not None and span.parent.span_id == request.context.span_id
    points = told.metrics()
    (duration,) = points[DURATION]
    assert duration.count == 1 and duration.attributes.get("error.type") == error
    assert (TOKENS in points) is (source != "none")


def test_what_is_not_known_is_not_reported(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    app = make_app()
    llm: Any = app.blueprints["llm"]

    @app.get("/mine")
    def mine() -> Any:
        return llm.respond(iter([]), model="my agent")

    app.test_client().get("/mine").get_data()
    said = attributes(told.span)
    assert (told.span.name, told.span.kind) == ("chat my agent", SpanKind.INTERNAL)
    assert said["llm_stream.usage.source"] == "unknown" and said["gen_ai.provider.name"] == "_OTHER"
    assert not [name for name in said if name.startswith(("gen_ai.usage.", "server.", "llm_stream.cost"))]
    assert {name for name in told.metrics() if name.startswith("gen_ai.")} == {DURATION}


def test_producer_that_does_not_come_back_has_its_span_all_the_same(
    make_app: MakeApp, upstream: Upstream, told: Told
) -> None:
    app = make_app(total_s=0.2)
    llm: Any = app.blueprints["llm"]
    slept: list[bool] = []

    def sleeper() -> Iterator[str]:
        yield "Hel"
        sleep(2)  # longer than a stopped producer is waited for
        slept.append(True)

    @app.get("/mine")
    def mine() -> Any:
        return llm.respond(sleeper())

    _, request = in_request(lambda: app.test_client().get("/mine").get_data())
    assert not slept
    span = told.span
    assert attributes(span)["error.type"] == "total_timeout"
    assert span.parent is not None and request.context is not None and span.parent.span_id == request.context.span_id
    eventually(lambda: slept)
    assert len(told.spans) == 1


def test_retries_and_fallbacks_are_one_call_to_the_model_that_answered(
    make_app: MakeApp, upstream: Upstream, told: Told
) -> None:
    app = make_app(fallback_models=["other"], retries=1)
    for _ in range(2):
        upstream.answer(status=503)
    upstream.answer("Hello")
    app.test_client().get("/llm/chat?prompt=hi").get_data()
    assert told.span.name == "chat other"
    assert attributes(told.span)["gen_ai.response.model"] == "other"


def test_reader_that_comes_back_is_no_second_call(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    client = make_app().test_client()
    for _ in range(3):
        client.get("/llm/chat?prompt=hi&key=9a1b").get_data()
    assert len(told.spans) == 1


def test_prompts_and_answers_are_left_out(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    upstream.answer("THE ANSWER")
    make_app().test_client().get("/llm/chat?prompt=THE+QUESTION").get_data()
    upstream.answer(status=400, body=b'{"error": {"message": "THE QUESTION is not allowed"}}')
    make_app().test_client().get("/llm/chat?prompt=THE+QUESTION").get_data()
    everything = "".join(span.to_json() for span in told.spans) + str(told.metrics())
    assert len(told.spans) == 2 and "THE" not in everything


def test_prompts_and_answers_are_there_for_those_who_ask(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    app = make_app(telemetry_content=True)
    llm: Any = app.blueprints["llm"]
    messages: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image_url", "image_url": {"url": "…"}}]},
        {"role": "assistant", "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "1", "content": "42"},
    ]
    calls = [{"index": 0, "id": "2", "function": {"name": "g", "arguments": "{}"}}]
    delta = {"reasoning_content": "Hm", "content": "Hello", "tool_calls": calls}
    upstream.answer({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}, finish_reason="tool_calls")
    with app.app_context():
        assert list(llm.events(messages=messages))
    said = attributes(told.span)
    assert json.loads(said["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "Hi"}, {"type": "image_url"}]},
        {"role": "assistant", "parts": [{"type": "tool_call", "id": "1", "name": "f", "arguments": "{}"}]},
        {"role": "tool", "parts": [{"type": "tool_call_response", "id": "1", "response": "42"}]},
    ]
    parts = [
        {"type": "reasoning", "content": "Hm"},
        {"type": "text", "content": "Hello"},
        {"type": "tool_call", "id": "2", "name": "g", "arguments": "{}"},
    ]
    assert json.loads(said["gen_ai.output.messages"]) == [
        {"role": "assistant", "parts": parts, "finish_reason": "tool_call"}
    ]


def test_service_tier_of_openai_is_told(make_app: MakeApp, upstream: Upstream, told: Told) -> None:
    chunk = {"service_tier": "flex", "choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": None}]}
    upstream.answer(chunk)
    make_app().test_client().get("/llm/chat?prompt=hi").get_data()
    assert attributes(told.span)["openai.response.service_tier"] == "flex"


@pytest.mark.parametrize(
    ("base_url", "name"),
    [
        ("https://api.openai.com/v1/", "openai"),
        ("https://mine.openai.azure.com/openai/", "azure.ai.openai"),
        ("https://api.mistral.ai/v1", "mistral_ai"),
        ("https://api.x.ai/v1", "x_ai"),
        ("https://generativelanguage.googleapis.com/v1beta/openai/", "gcp.gemini"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("http://localhost:8000/v1", "openai"),
        (None, "_OTHER"),
    ],
)
def test_provider_is_named_as_the_conventions_do(base_url: str | None, name: str) -> None:
    assert _provider(base_url) == name


def test_exporter_that_fails_harms_nothing(
    make_app: MakeApp, upstream: Upstream, told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app()

    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("the collector is on fire")

    monkeypatch.setattr(told.exporter, "export", broken)
    upstream.answer("Hello")
    events = read_events(app.test_client().get("/llm/chat?prompt=hi").data)
    assert events[-1][2]["status"] == "completed" and len(app.extensions["records"]) == 1


# the load of a worker


def test_running_streams_are_counted_by_the_name_of_their_blueprint(upstream: Upstream, told: Told) -> None:
    llm = LLMStream("counted", __name__, model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    clients, started = [], []
    for _ in range(2):  # two apps of a process, with one blueprint
        app = Flask("counted")
        app.config["LLM_STREAM_PUBLIC"] = True
        app.register_blueprint(llm)
        upstream.answer("Hel", Stall())
        clients.append(app.test_client())
        started.append(clients[-1].post("/streams", json={"prompt": "hi"}).json["url"])
    active = {"llm_stream.name": "counted"}
    assert told.value(ACTIVE, active) == 2
    for client, url in zip(clients, started, strict=True):
        client.delete(url)
    eventually(lambda: told.value(ACTIVE, active) == 0, "no running stream")
    llm.close()


def test_each_refusal_is_counted_by_its_code(make_app: MakeApp, told: Told) -> None:
    app = make_app()

    @app.before_request
    def closed() -> None:
        if request.args.get("closed"):
            abort(401)

    before = {code: told.value(REFUSED, {"error.type": code}) for code in ("invalid_field", "unauthorized")}
    client = app.test_client()
    client.post("/llm/chat", json={"prompt": 1})
    client.post("/llm/v1/chat/completions", json={"messages": 1})
    client.post("/llm/chat?closed=1", json={"prompt": "hi"})
    after = {code: told.value(REFUSED, {"error.type": code}) for code in before}
    assert {code: after[code] - before[code] for code in before} == {"invalid_field": 2, "unauthorized": 1}


def test_records_that_the_ledger_cannot_write_are_counted(
    make_app: MakeApp, upstream: Upstream, told: Told, tmp_path: Path
) -> None:
    database, gate = SQLite(tmp_path), Gate()
    client = make_app(ledger_url=database.url).test_client()
    upstream.answer("Hel", gate, "lo")
    url = client.post("/llm/streams", json={"prompt": "hi"}).json["url"]
    assert told.value(UNWRITTEN) == 0
    database.take_away()
    gate.open()
    eventually(lambda: told.value(UNWRITTEN) == 1, "an unwritten record")
    database.give_back()
    eventually(lambda: told.value(UNWRITTEN) == 0, "the record in the ledger")
    assert b"completed" in client.get(url).data


WITHOUT = """
import sys
sys.modules["opentelemetry"] = None  # as if it were not installed
from flask import Flask
from llm_stream import LLMStream
from llm_stream.testing import Upstream
from openai import OpenAI

with Upstream() as upstream:
    app = Flask("without")
    app.config["LLM_STREAM_PUBLIC"] = True
    llm = LLMStream("llm", "without", model="m", client=OpenAI(base_url=upstream.base_url, api_key="x"))
    app.register_blueprint(llm)
    upstream.answer("Hello")
    assert b'"text":"Hello"' in app.test_client().get("/chat?prompt=hi").data
    llm.close()
assert not [name for name in sys.modules if name.startswith("opentelemetry.")]
"""


def test_nothing_of_it_is_needed() -> None:
    subprocess.run([sys.executable, "-W", "error", "-c", WITHOUT], cwd=ROOT, check=True, timeout=60)


# under gunicorn with gevent


def spans_in(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_spans_under_gevent_are_children_of_their_requests(
    upstream: Upstream, serve: Callable[..., Server], tmp_path: Path
) -> None:
    file = tmp_path / "spans.jsonl"
    command = ["{bin}/gunicorn", "-c", "gunicorn.conf.py", "tests.traced:app"]
    server = serve(upstream, command=command, SPANS=str(file), disconnect_grace_s=0.1, idle_s=2)
    upstream.answer("Hello", Pause(0.1), "you")
    server.get("/llm/chat?prompt=hi")
    upstream.answer("Hel", Pause(0.1), Cut())
    server.get("/llm/chat?prompt=hi")
    upstream.answer("Hel", Stall())
    server.get("/llm/chat?prompt=hi")
    upstream.answer("Hel", Stall())
    reader = Connection.get(server.port, "/llm/chat?prompt=hi")
    reader.read_until("Hel")
    reader.close()
    eventually(lambda: len(server.records()) == 4, "four records")
    server.stop()
    spans = spans_in(file)
    requests = {span["context"]["span_id"]: span for span in spans if span["name"] == "/llm/chat"}
    ours = [span for span in spans if span["name"].startswith("chat ")]
    assert [span["attributes"]["llm_stream.status"] for span in ours] == [
        "completed",
        "failed",
        "timed_out",
        "abandoned",
    ]
    assert len({span["parent_id"] for span in ours}) == 4 and {span["parent_id"] for span in ours} <= requests.keys()
    ids = [record["id"] for record in server.records()]
    assert [span["attributes"]["llm_stream.id"] for span in ours] == ids


class Scraped(Server):
    """The example, which knows nothing of tests."""

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return httpx2.get(f"{self.url}/metrics", timeout=5).status_code == 200
        except httpx2.TransportError:
            return False


def test_prometheus_scrapes_the_example(upstream: Upstream, tmp_path: Path) -> None:
    server = Scraped(upstream, tmp_path, ["{bin}/gunicorn", "-c", "gunicorn.conf.py", "examples.prometheus:app"])
    try:
        for n in (1, 2):
            upstream.answer("Hel", "lo", usage={"prompt_tokens": 10, "completion_tokens": n})
            server.get("/llm/chat?prompt=hi")
        upstream.answer(status=401)
        server.get("/llm/chat?prompt=hi")
        scrape = server.get("/metrics")
    finally:
        server.stop()
    assert scrape.headers["content-type"].startswith("text/plain")
    samples = {
        (sample.name, sample.labels.get("gen_ai_token_type") or sample.labels.get("error_type") or None): sample
        for family in text_string_to_metric_families(scrape.text)
        for sample in family.samples
        if sample.name.endswith(("_sum", "_count"))
    }
    tokens, duration = "gen_ai_client_token_usage", "gen_ai_client_operation_duration_seconds"
    assert samples[f"{tokens}_sum", "input"].value == 20
    assert samples[f"{tokens}_sum", "output"].value == 3
    assert samples[f"{duration}_count", None].value == 2
    assert samples[f"{duration}_count", "upstream_refused"].value == 1
    assert samples[f"{duration}_count", None].labels["gen_ai_request_model"] == "openai/gpt-4o-mini"
    assert ("gen_ai_client_operation_time_to_first_chunk_seconds_count", None) in samples
    assert ("gen_ai_client_operation_time_per_output_chunk_seconds_count", None) in samples
    assert 'llm_stream_active_streams{llm_stream_name="llm"' in scrape.text
