"""OpenTelemetry: one span per stream, and the metrics of a GenAI client.

https://github.com/open-telemetry/semantic-conventions-genai/tree/main/docs/gen-ai

The span is made when the stream settles, with explicit times, in the request's context, which the producer has copied.
A stream outlives its request, and several threads may end it, but it settles only once. So no span stays open or is
closed twice. Telemetry costs no time per token.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit

from ..events import OUTPUT
from ..wire.answer import snapshot_of
from .account import Accounted
from .price import provider_of
from .record import UsageRecord

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram
    from opentelemetry.util.types import AttributeValue

logger = logging.getLogger("llm_stream")

Attributes = dict[str, "AttributeValue"]

SCOPE = "llm_stream"
OPERATION = "chat"
TOKEN_BUCKETS = [4**n for n in range(14)]
SECOND_BUCKETS = [0.01 * 2**n for n in range(14)]

PROVIDERS = {
    "aws": "aws.bedrock",
    "azure": "azure.ai.openai",
    "google": "gcp.gen_ai",
    "mistral": "mistral_ai",
    "moonshotai": "moonshot_ai",
    "x-ai": "x_ai",
}
"""The convention's names of providers, by their different names in the price lists."""

API = "openai"
"""The provider's name for an unknown address. The conventions require the API's name then."""


class Telemetry:
    """Records to the OpenTelemetry providers that the host app has set. Without them, nothing is recorded."""

    def __init__(self, *, content: bool) -> None:
        """With `content`, spans have the prompt and the answer. Raises `ImportError` if the API is not installed."""
        from opentelemetry import metrics
        from opentelemetry import trace

        self._content = content
        self._trace = trace
        self._tracer = trace.get_tracer(SCOPE)
        meter = metrics.get_meter(SCOPE)

        def histogram(name: str, unit: str, description: str, buckets: Sequence[float]) -> Histogram:
            name = f"gen_ai.client.{name}"
            return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=buckets)

        self._tokens = histogram("token.usage", "{token}", "Number of input and output tokens used.", TOKEN_BUCKETS)
        self._duration = histogram("operation.duration", "s", "GenAI operation duration.", SECOND_BUCKETS)
        self._first_chunk = histogram(
            "operation.time_to_first_chunk", "s", "Time from the request to the first chunk.", SECOND_BUCKETS
        )
        self._per_chunk = histogram(
            "operation.time_per_output_chunk", "s", "Time from chunk to chunk; the mean of a stream.", SECOND_BUCKETS
        )

    @classmethod
    def where_installed(cls, *, content: bool) -> Telemetry | None:
        try:
            return cls(content=content)
        except ImportError:
            return None

    def observe(self, record: UsageRecord, stream: Accounted | None = None) -> None:
        """Record one usage record. `stream` is None if it ran in another process. Catches all exceptions."""
        try:
            call = _call(record, stream)
            error: Attributes = {"error.type": kind} if (kind := _error_type(record)) else {}
            self._record_metrics(record, stream, call, error)
            self._record_span(record, stream, call | error)
        except Exception:
            logger.exception("telemetry failed for stream %s, which has no span or metrics", record.id)

    def _record_metrics(
        self, record: UsageRecord, stream: Accounted | None, call: Attributes, error: Attributes
    ) -> None:
        self._duration.record(record.duration_s, call | error)
        if record.ttft_s is not None:
            self._first_chunk.record(record.ttft_s, call)
        if (per_chunk := _time_per_chunk(stream)) is not None:
            self._per_chunk.record(per_chunk, call)
        source: Attributes = {"llm_stream.usage.source": record.source}
        for kind, count in (("input", record.input_tokens), ("output", record.output_tokens)):
            if count is not None:
                self._tokens.record(count, call | source | {"gen_ai.token.type": kind})

    def _record_span(self, record: UsageRecord, stream: Accounted | None, attributes: Attributes) -> None:
        started = int(record.started.timestamp() * 1e9)
        span = self._tracer.start_span(
            " ".join([OPERATION, *([str(model)] if (model := attributes.get("gen_ai.request.model")) else [])]),
            # the model calls of an app's iterable are unknown
            kind=self._trace.SpanKind.CLIENT if "server.address" in attributes else self._trace.SpanKind.INTERNAL,
            attributes=attributes,
            start_time=started,
        )
        try:
            if span.is_recording():
                span.set_attributes(_details(record, stream))
                if error := attributes.get("error.type"):
                    span.set_status(self._trace.StatusCode.ERROR, str(error))
                if self._content and stream is not None:
                    span.set_attributes(_content(record, stream))
        finally:
            span.end(started + int(record.duration_s * 1e9))


def _call(record: UsageRecord, stream: Accounted | None) -> Attributes:
    """The attributes of every span and metric."""
    attempts = stream.source.attempts if stream else ()
    last = attempts[-1] if attempts else None
    requested = (last.model if last and last.asked.messages is not None else None) or record.model
    base_url = (last.base_url if last else None) or (stream.source.base_url if stream else None)
    call: Attributes = {
        "gen_ai.operation.name": OPERATION,
        "gen_ai.provider.name": _provider(base_url),
    }
    if requested:
        call["gen_ai.request.model"] = requested
    if last and last.upstream_model:
        call["gen_ai.response.model"] = last.upstream_model
    if record.service_tier and call["gen_ai.provider.name"] == API:
        call["openai.response.service_tier"] = record.service_tier
    if base_url:
        address = urlsplit(base_url)
        call["server.address"] = address.hostname or ""
        call["server.port"] = address.port or (80 if address.scheme == "http" else 443)
    return call


def _details(record: UsageRecord, stream: Accounted | None) -> Attributes:
    """The attributes that only the span has."""
    attempts = stream.source.attempts if stream else ()
    details: dict[str, AttributeValue | None] = {
        "gen_ai.request.stream": True,
        "gen_ai.response.finish_reasons": [record.finish_reason] if record.finish_reason else None,
        "gen_ai.response.time_to_first_chunk": record.ttft_s,
        "gen_ai.usage.input_tokens": record.input_tokens,
        "gen_ai.usage.output_tokens": record.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
        "gen_ai.usage.cache_creation.input_tokens": record.cache_write_tokens,
        "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
        "llm_stream.id": record.id,
        "llm_stream.status": record.status,
        "llm_stream.error_id": record.error_id,
        "llm_stream.usage.source": record.source,
        "llm_stream.cost": None if record.cost is None else float(record.cost),
        "llm_stream.currency": record.currency,
        "llm_stream.price_source": record.price_source,
        "llm_stream.upstream": attempts[-1].upstream if attempts else None,
    }
    return {name: value for name, value in details.items() if value is not None}


def _error_type(record: UsageRecord) -> str | None:
    """A stream that was cancelled or abandoned has not failed."""
    if record.error_code:
        return record.error_code
    return record.status if record.status in ("failed", "timed_out", "interrupted", "over_budget") else None


def _time_per_chunk(stream: Accounted | None) -> float | None:
    if stream is None or stream.first_content_at is None:
        return None
    chunks = sum(type(event) in OUTPUT for event in stream.log.events)
    return (stream.last_content_at - stream.first_content_at) / (chunks - 1) if chunks > 1 else None


def _provider(base_url: str | None) -> str:
    if base_url is None:
        return "_OTHER"
    if "generativelanguage.googleapis.com" in base_url:
        return "gcp.gemini"
    if "aiplatform.googleapis.com" in base_url:
        return "gcp.vertex_ai"
    provider = provider_of(base_url)
    return PROVIDERS.get(provider, provider) if provider else API


# The prompt and the answer, if the operator has enabled them


def _content(record: UsageRecord, stream: Accounted) -> Attributes:
    answer = snapshot_of(stream.log.events)
    texts = [("reasoning", answer.reasoning), ("text", answer.text), ("refusal", answer.refusal)]
    parts = [{"type": kind, "content": text} for kind, text in texts if text]
    names = ("id", "name", "arguments")
    parts += [{"type": "tool_call", **{name: call[name] for name in names}} for call in answer.tool_calls]
    reason = {"tool_calls": "tool_call", None: "error"}.get(record.finish_reason, record.finish_reason)
    content = {"gen_ai.output.messages": [{"role": "assistant", "parts": parts, "finish_reason": reason}]}
    if (messages := stream.source.asked.messages) is not None:
        content["gen_ai.input.messages"] = [
            {"role": message.get("role"), "parts": _parts(message)} for message in messages
        ]
    return {name: json.dumps(messages, ensure_ascii=False, default=str) for name, messages in content.items()}


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if message.get("role") == "tool":
        return [{"type": "tool_call_response", "id": message.get("tool_call_id"), "response": content}]
    pieces = [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    parts = [
        # pictures and files are too large for a span, so it has only their type
        {"type": "text", "content": part.get("text")} if part.get("type") == "text" else {"type": str(part.get("type"))}
        for part in pieces
        if isinstance(part, Mapping)
    ]
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        name, arguments = function.get("name"), function.get("arguments")
        parts.append({"type": "tool_call", "id": call.get("id"), "name": name, "arguments": arguments})
    return parts
