"""Events of the Responses API as servers really send them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies

from llm_stream.errors import ContextTooLong
from llm_stream.errors import UpstreamCut
from llm_stream.errors import UpstreamError
from llm_stream.errors import UpstreamGarbled
from llm_stream.errors import UpstreamRejected
from llm_stream.errors import UpstreamThrottled
from llm_stream.events import Data
from llm_stream.events import Delta
from llm_stream.events import Event
from llm_stream.events import File
from llm_stream.events import Opaque
from llm_stream.events import Reasoning
from llm_stream.events import Refusal
from llm_stream.events import Source
from llm_stream.events import ToolCall
from llm_stream.events import Usage
from llm_stream.upstream.payloads import Payloads
from llm_stream.upstream.response_events import ResponseDecoder
from llm_stream.upstream.source import Asked
from llm_stream.upstream.source import Attempt

JSON = dict[str, Any]


def sent(kind: str, **fields: Any) -> JSON:
    return {"type": f"response.{kind}", **fields}


def text(delta: str, **fields: Any) -> JSON:
    return sent("output_text.delta", delta=delta, **fields)


def added(kind: str, **fields: Any) -> JSON:
    return sent("output_item.added", item={"type": kind} | fields)


def done(kind: str, **fields: Any) -> JSON:
    return sent("output_item.done", item={"type": kind} | fields)


def message(*texts: str, **fields: Any) -> JSON:
    return {"type": "message", "content": [{"type": "output_text", "text": text} | fields for text in texts]}


def completed(*output: JSON, **fields: Any) -> JSON:
    return sent("completed", response={"status": "completed", "incomplete_details": None, "output": output, **fields})


def decoder_after(*events: JSON, limit: int | None = None) -> tuple[ResponseDecoder, list[Event]]:
    attempt = Attempt(accepted=True, asked=Asked(max_output_tokens=limit))
    decoder = ResponseDecoder(attempt)
    return decoder, [ours for event in events for ours in decoder.feed(json.dumps(event).encode())]


def decoded(*events: JSON) -> list[Event]:
    return decoder_after(*events)[1]


def said(*events: JSON, kind: type[Event] = Delta) -> str:
    return "".join(event.text for event in decoded(*events) if isinstance(event, kind))  # type: ignore[attr-defined]


def calls_in(events: list[Event]) -> dict[int, tuple[str | None, str | None, str]]:
    calls: dict[int, tuple[str | None, str | None, str]] = {}
    for event in events:
        if isinstance(event, ToolCall):
            id, name, arguments = calls.get(event.index, (None, None, ""))
            calls[event.index] = (id or event.id, name or event.name, arguments + event.arguments)
    return calls


WAYS: dict[str, list[JSON]] = {
    "deltas only": [text("Hel"), text("lo"), completed()],
    "repeated everywhere": [
        added("message", content=[]),
        sent("content_part.added", part={"type": "output_text", "text": ""}),
        text("Hel"),
        text("lo"),
        sent("output_text.done", text="Hello"),
        sent("content_part.done", part={"type": "output_text", "text": "Hello"}),
        sent("output_item.done", item=message("Hello")),
        completed(message("Hello")),
    ],
    "the text only when it is done": [sent("output_text.done", text="Hello"), completed(message("Hello"))],
    "the part only when it is done": [sent("content_part.done", part=message("Hello")["content"][0]), completed()],
    "the item only when it is done": [sent("output_item.done", item=message("Hello")), completed()],
    "only in the response": [completed(message("Hello"))],
    "in several parts": [completed(message("Hel", "lo"))],
    "in several items": [sent("output_item.done", item=message("Hel")), completed(message("Hel"), message("lo"))],
    "begun by deltas": [text("Hel"), completed(message("Hello"))],
    "ids that change": [text("Hel", item_id="a"), text("lo", item_id="b"), completed(message("Hello"))],
    "trimmed": [text("Hello"), text(""), completed(message(" Hello "))],
    "equal parts": [
        sent("content_part.added"),
        text("la"),
        sent("output_text.done", text="la"),
        sent("content_part.added"),
        sent("output_text.done", text="la"),
        completed(message("la", "la")),
    ],
    "not streamed at all": [{"object": "response", "status": "completed", "output": [message("Hello")]}],
}


@pytest.mark.parametrize("way", WAYS)
def test_text_is_told_once_however_it_comes(way: str) -> None:
    assert said(*WAYS[way]).strip() == ("lala" if way == "equal parts" else "Hello")


def test_text_that_contradicts_what_was_streamed_is_not_told_again() -> None:
    assert said(text("Hello"), completed(message("Good bye"))) == "Hello"


def test_half_pairs_of_utf_16_are_joined() -> None:
    events = [b'{"type":"response.output_text.delta","delta":"%s"}' % half for half in (rb"a", rb"\ud83e", rb"\udde0")]
    decoder = ResponseDecoder()
    assert "".join(each.text for event in events for each in decoder.feed(event) if isinstance(each, Delta)) == "a🧠"


def test_half_a_pair_that_nothing_follows_is_left_out() -> None:
    half = b'{"type":"response.output_text.delta","delta":"\\ud83e"}'
    decoder, _ = decoder_after(text("a"))
    assert decoder.feed(half) == []
    assert decoder.feed(json.dumps(completed(message("a🧠"))).encode()) == [Delta("🧠")]
    decoder, _ = decoder_after(text("a"))
    decoder.feed(half)
    assert decoder.feed(json.dumps(text("b")).encode()) == [Delta("\ufffdb")]


IGNORED: list[JSON] = [
    sent("created", response={"id": "r", "object": "response", "status": "in_progress"}),
    sent("queued"),
    sent("something.new", delta="x"),
    sent("output_item.added"),
    sent("output_item.added", item=None),
    sent("content_part.added"),
    sent("content_part.done", part=5),
    sent("output_text.delta"),
    sent("output_text.delta", delta=5),
    sent("output_text.done"),
    sent("output_text.annotation.added"),
    sent("function_call_arguments.delta", delta="{}"),
    sent("function_call_arguments.done", arguments="{}"),
    sent("image_generation_call.partial_image", item_id="i", partial_image_b64="x"),
    {"type": "keepalive", "sequence_number": 1},
    {},
]


@pytest.mark.parametrize("event", IGNORED)
def test_event_that_says_nothing_is_ignored(event: JSON) -> None:
    assert decoded(event) == []
    assert said(text("a"), event, text("b")) == "ab"


def test_reasoning_comes_as_it_was_or_in_a_summary() -> None:
    assert said(sent("reasoning_text.delta", delta="r"), kind=Reasoning) == "r"
    parts = [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]
    streamed = [
        added("reasoning", summary=[]),
        sent("reasoning_summary_part.added", summary_index=0),
        sent("reasoning_summary_text.delta", delta="a"),
        sent("reasoning_summary_text.done", text="a"),
        sent("reasoning_summary_part.added", summary_index=1),
        sent("reasoning_summary_text.delta", delta="b"),
    ]
    whole = {"type": "reasoning", "summary": parts}
    assert said(*streamed, sent("output_item.done", item=whole), completed(whole), kind=Reasoning) == "a\n\nb"
    assert said(completed(whole), kind=Reasoning) == "a\n\nb"
    assert said(completed(whole | {"content": [{"type": "reasoning_text", "text": "c"}]}), kind=Reasoning) == "c"


def test_refusal_is_told_once() -> None:
    part = {"type": "refusal", "refusal": "No."}
    events = [
        sent("refusal.delta", delta="No"),
        sent("refusal.done", refusal="No."),
        sent("content_part.done", part=part),
    ]
    assert said(*events, completed({"type": "message", "content": [part]}), kind=Refusal) == "No."
    assert said(completed({"type": "message", "content": [part]}), kind=Refusal) == "No."


ONE = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'}
TWO = ONE | {"id": "fc_2", "call_id": "c2"}
EMPTY = {"arguments": ""}
CALLS: dict[str, list[JSON]] = {
    "streamed": [
        sent("output_item.added", output_index=0, item=ONE | EMPTY),
        sent("output_item.added", output_index=1, item=TWO | EMPTY),
        sent("function_call_arguments.delta", item_id="fc_1", output_index=0, delta='{"a":'),
        sent("function_call_arguments.delta", item_id="fc_2", output_index=1, delta='{"a": 1}'),
        sent("function_call_arguments.delta", item_id="fc_1", output_index=0, delta=" 1}"),
        sent("function_call_arguments.done", item_id="fc_1", output_index=0, arguments='{"a": 1}'),
        sent("output_item.done", output_index=0, item=ONE),
        sent("output_item.done", output_index=1, item=TWO),
        completed(ONE, TWO),
    ],
    "ids of items that change": [
        sent("output_item.added", output_index=0, item=ONE | EMPTY | {"id": "x"}),
        sent("output_item.added", output_index=1, item=TWO | EMPTY | {"id": "y"}),
        sent("function_call_arguments.delta", item_id="z", output_index=0, delta='{"a": 1}'),
        sent("output_item.done", output_index=1, item=TWO | {"id": "v"}),
        completed(ONE, TWO),
    ],
    "no output_index": [
        sent("output_item.added", item=ONE | EMPTY),
        sent("function_call_arguments.delta", item_id="fc_1", delta='{"a": 1}'),
        sent("output_item.added", item=TWO | EMPTY),
        sent("function_call_arguments.done", item_id="fc_2", arguments='{"a": 1}'),
        completed(),
    ],
    "neither index nor id": [
        sent("output_item.added", item=ONE | EMPTY),
        sent("function_call_arguments.delta", delta='{"a": 1}'),
        sent("output_item.added", item=TWO | EMPTY),
        sent("function_call_arguments.delta", delta='{"a": 1}'),
        completed(ONE, TWO),
    ],
    "only whole items": [sent("output_item.done", item=ONE), sent("output_item.done", item=TWO), completed(ONE, TWO)],
    "only in the response": [completed(ONE, TWO)],
}


@pytest.mark.parametrize("way", CALLS)
def test_call_is_told_once_however_it_comes(way: str) -> None:
    decoder, events = decoder_after(*CALLS[way])
    assert calls_in(events) == {0: ("c1", "f", '{"a": 1}'), 1: ("c2", "f", '{"a": 1}')}
    assert decoder.end().finish_reason == "tool_calls"


def test_call_without_any_id_gets_one() -> None:
    item = {"type": "function_call", "name": "f", "arguments": "{}"}
    ((id, name, arguments),) = calls_in(decoded(sent("output_item.added", item=item), completed(item))).values()
    assert id and (name, arguments) == ("f", "{}")


def test_tool_of_the_provider_is_an_event_that_later_ones_replace() -> None:
    item = {"type": "web_search_call", "id": "ws_1", "status": "in_progress"}
    found = item | {"status": "completed", "action": {"type": "search", "query": "q"}, "results": ["long"]}
    events = decoded(
        sent("output_item.added", item=item),
        sent("web_search_call.in_progress", item_id="ws_1"),
        sent("web_search_call.searching", item_id="ws_1"),
        sent("web_search_call.completed", item_id="ws_1"),
        sent("output_item.done", item=found),
        completed(found),
    )
    assert [event.data["status"] for event in events if isinstance(event, Data)] == [
        "in_progress", "searching", "completed", "completed",
    ]  # fmt: skip
    last = found.copy()
    del last["results"]
    assert events[-1] == Data("tool", last, "ws_1")
    mcp = {"type": "mcp_call", "id": "m", "name": "roll", "server_label": "dice", "output": "4"}
    shown = {"type": "mcp_call", "id": "m", "name": "roll", "server_label": "dice"}
    assert decoded(completed(mcp)) == [Data("tool", shown, "m")]


def test_image_is_a_file() -> None:
    item = {
        "type": "image_generation_call",
        "id": "i",
        "status": "completed",
        "result": "aGk=",
        "output_format": "webp",
    }
    events = decoded(sent("output_item.done", item=item), completed(item))
    assert [event for event in events if isinstance(event, File)] == [File("data:image/webp;base64,aGk=", "image/webp")]


def test_citation_is_told_once_with_its_place_in_the_text() -> None:
    cited = {"type": "url_citation", "url": "https://a.example/", "title": "A", "start_index": 1, "end_index": 2}
    other = {"type": "file_citation", "file_id": "f", "index": 1}
    events = decoded(
        added("message"),
        text("first"),
        sent("output_item.done", item=message("first")),
        added("message"),
        sent("content_part.added"),
        text("second"),
        sent("output_text.annotation.added", annotation=cited),
        sent("output_text.annotation.added", annotation=other),
        sent("content_part.done", part=message("second", annotations=[cited, other])["content"][0]),
        sent("output_item.done", item=message("second", annotations=[cited])),
        completed(message("first"), message("second", annotations=[cited])),
    )
    assert [event for event in events if isinstance(event, Source)] == [Source("https://a.example/", "A", 6, 7)]


THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "c2VjcmV0"}


@pytest.mark.parametrize(
    "events",
    [
        [sent("output_item.done", item=THOUGHT), completed()],
        [sent("output_item.done", item=THOUGHT), completed(THOUGHT)],
        [completed(THOUGHT)],
        [sent("output_item.done", item=THOUGHT | {"encrypted_content": None}), completed(THOUGHT)],
    ],
)
def test_encrypted_reasoning_is_wanted_back(events: list[JSON]) -> None:
    assert decoded(text("x"), *events)[1:] == [Opaque({"reasoning_items": [THOUGHT]})]


def test_too_much_encrypted_reasoning_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    assert decoded(completed(THOUGHT | {"encrypted_content": "x" * 2**20})) == []
    assert "262144" in caplog.text


def incomplete(reason: str | None) -> JSON:
    return sent("incomplete", response={"status": "incomplete", "incomplete_details": {"reason": reason}})


@pytest.mark.parametrize(
    ("event", "status", "reason"),
    [
        (completed(), "completed", "stop"),
        (incomplete("max_output_tokens"), "incomplete", "length"),
        (incomplete("content_filter"), "incomplete", "content_filter"),
        (incomplete("new_reason"), "incomplete", "new_reason"),
        (incomplete(None), "incomplete", "incomplete"),
        (sent("completed", response={"status": "incomplete"}), "incomplete", "incomplete"),
        (sent("completed"), "completed", "stop"),
    ],
)
def test_end_has_a_reason(event: JSON, status: str, reason: str) -> None:
    decoder, _ = decoder_after(text("x"), event)
    assert decoder.is_whole
    ending = decoder.end()
    assert (ending.status, ending.finish_reason) == (status, reason)
    assert decoder.attempt.is_whole


@pytest.mark.parametrize(
    ("written", "details", "reason"), [(12, {}, "length"), (11, {}, "stop"), (12, {"incomplete_details": None}, "stop")]
)
def test_limit_of_llama_cpp_shows_in_its_figures_only(written: int, details: JSON, reason: str) -> None:
    response = {"status": "completed", "usage": {"input_tokens": 33, "output_tokens": written}} | details
    decoder, _ = decoder_after(text("x"), sent("completed", response=response), limit=12)
    assert decoder.end().finish_reason == reason


@pytest.mark.parametrize("events", [[], [text("x")], [sent("created", response={"status": "in_progress"})]])
def test_end_without_a_last_event_is_a_failure(events: list[JSON]) -> None:
    decoder, _ = decoder_after(*events)
    assert not decoder.is_whole
    with pytest.raises(UpstreamCut):
        decoder.end()


USAGE = {
    "input_tokens": 10,
    "output_tokens": 7,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens_details": {"reasoning_tokens": 5},
}


@pytest.mark.parametrize("kind", ["completed", "incomplete", "failed"])
def test_figures_come_with_every_end(kind: str) -> None:
    attempt = Attempt(accepted=True)
    decoder = ResponseDecoder(attempt)
    response = {"id": "resp_1", "model": "gpt-5-2025", "service_tier": "flex", "usage": USAGE, "error": {"code": "x"}}
    decoder.events(text("x"))
    try:
        decoder.events(sent(kind, response=response))
    except UpstreamError:
        assert kind == "failed"
    assert attempt.figures == Usage(10, 7, 4, 5, source="provider", cache_write_tokens=1)
    assert (attempt.upstream_model, attempt.service_tier, attempt.request_id) == ("gpt-5-2025", "flex", "resp_1")
    assert attempt.accepted


def failed(code: str) -> JSON:
    return sent("failed", response={"status": "failed", "error": {"code": code, "message": "secret"}})


ERRORS: list[tuple[JSON, type[UpstreamError]]] = [
    (failed("server_error"), UpstreamError),
    (failed("rate_limit_exceeded"), UpstreamThrottled),
    (failed("invalid_prompt"), UpstreamRejected),
    (failed("context_length_exceeded"), ContextTooLong),
    (sent("failed"), UpstreamError),
    (sent("cancelled", response={"status": "cancelled"}), UpstreamError),
    ({"type": "error", "code": "rate_limit_exceeded", "message": "secret", "param": None}, UpstreamThrottled),
    ({"type": "error", "error": {"type": "too_many_requests", "code": None, "message": "x"}}, UpstreamThrottled),
    ({"type": "error", "message": "x"}, UpstreamError),
    ({"error": {"code": 400, "message": "x", "type": "invalid_request_error"}}, UpstreamRejected),
]


@pytest.mark.parametrize(("event", "error"), ERRORS)
def test_error_is_ours_and_a_refusal_before_content(event: JSON, error: type[UpstreamError]) -> None:
    for before, accepted in ([], event.get("type") == "response.cancelled"), ([text("x")], True):
        decoder, _ = decoder_after(sent("created", response={"id": "r"}), *before)
        with pytest.raises(UpstreamError) as raised:
            decoder.feed(json.dumps(event).encode())
        assert type(raised.value) is error
        assert decoder.attempt.accepted is accepted
        assert "secret" not in str(raised.value.__cause__)


@pytest.mark.parametrize("payload", [b"{", b"[]", b"5", b'{"type":"response.output_text.delta","delta":"'])
def test_what_is_no_event_is_garbled(payload: bytes) -> None:
    decoder, _ = decoder_after(text("x"))
    with pytest.raises(UpstreamGarbled):
        decoder.feed(payload)


def test_nothing_is_told_after_the_end() -> None:
    decoder, _ = decoder_after(text("x"), completed())
    assert decoder.feed(json.dumps(text("y")).encode()) == []


BODY = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
    for event in (
        *CALLS["streamed"][:-1],
        text("Grüße 🧠"),
        text("\u2028\n\n"),
        text("x"),
        completed(ONE, TWO, usage=USAGE),
    )
).encode()


@given(strategies.lists(strategies.integers(1, len(BODY) - 1), max_size=20).map(sorted), strategies.booleans())
def test_events_are_the_same_at_any_split_of_the_bytes(cuts: list[int], with_returns: bool) -> None:
    body = BODY.replace(b"\n", b"\r\n") if with_returns else BODY
    payloads, decoder = Payloads(), ResponseDecoder()
    pieces = [body[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
    found = [payload for piece in pieces if piece for payload in payloads.feed(piece)] + payloads.end()
    events = [event for payload in found for event in decoder.feed(payload)]
    assert "".join(event.text for event in events if isinstance(event, Delta)) == "Grüße 🧠\u2028\n\nx"
    assert calls_in(events) == {0: ("c1", "f", '{"a": 1}'), 1: ("c2", "f", '{"a": 1}')}
    assert decoder.end().finish_reason == "tool_calls"


TEXT = strategies.text(max_size=3) | strategies.just("\ud83e")
LEAVES = strategies.none() | strategies.booleans() | strategies.integers(-9, 9) | TEXT
FIELDS = (
    "type", "id", "item_id", "call_id", "output_index", "delta", "text", "part", "item", "response", "output",
    "content", "summary", "arguments", "name", "annotation", "annotations", "status", "error", "incomplete_details",
    "reason", "usage", "encrypted_content", "result", "output_format", "url", "code", "message",
)  # fmt: skip
KINDS = (
    "message", "reasoning", "function_call", "web_search_call", "image_generation_call", "output_text", "refusal",
    "error", "url_citation",
)  # fmt: skip
ANYTHING = strategies.recursive(
    LEAVES | strategies.sampled_from(KINDS),
    lambda inner: (
        strategies.lists(inner, max_size=3)
        | strategies.dictionaries(strategies.sampled_from(FIELDS), inner, max_size=5)
    ),
    max_leaves=12,
)
TYPES = sorted(ResponseDecoder()._handlers) + [
    f"response.{kind}" for kind in ("completed", "incomplete", "failed", "x")
]
EVENTS = strategies.tuples(
    strategies.sampled_from([*TYPES, "error"]),
    strategies.dictionaries(strategies.sampled_from(FIELDS), ANYTHING, max_size=5),
)


@given(strategies.lists(EVENTS, max_size=8))
def test_whatever_a_server_sends_is_events_or_an_error_of_ours(given: list[tuple[str, JSON]]) -> None:
    decoder = ResponseDecoder()
    try:
        for kind, fields in given:
            for event in decoder.feed(json.dumps(fields | {"type": kind}).encode()):
                assert isinstance(event, Event)
                msgspec.json.encode(event)
        decoder.end()
    except UpstreamError:
        pass
