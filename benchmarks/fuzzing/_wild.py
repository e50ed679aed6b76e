"""Makes requests that no client would send, with odd request lines, headers, bodies or framing."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

HI = [{"role": "user", "content": "hi"}]
PARTS = [{"id": "1", "role": "user", "parts": [{"type": "text", "text": "hi"}]}]
DONE_PART = {"type": "tool-f", "toolCallId": "c", "state": "output-available", "output": 1}
RUN = {"threadId": "t", "runId": "r", "messages": [{"id": "1", **HI[0]}], "tools": [], "context": [], "state": {}}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
FORMAT = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}}}
CHAT = {"messages": HI, "model": None, "temperature": 1, "max_output_tokens": 9, "tools": [TOOL], "key": None}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "1"}
TURN = [*HI, {"role": "assistant", "content": None, "tool_calls": [{**CALL, "result": 1}]}]
RESPONSE = {"input": [*HI, {"type": "item_reference", "id": "x"}], "stream": True, "tools": [], "metadata": {"a": "b"}}

BODIES: dict[str, list[Any]] = {
    "chat": [
        {"prompt": "hi"},
        CHAT,
        {"messages": TURN, "approvals": {"x": True}},
        {"prompt": "hi", "response_format": FORMAT},
    ],
    "streams": [{"prompt": "hi"}, CHAT],
    "ui/chat": [
        {"id": "c", "messages": PARTS, "trigger": "submit-message"},
        {"prompt": "hi"},
        {"id": "c", "message": {"role": "assistant", "parts": [DONE_PART]}},
    ],
    "agui": [RUN, RUN | {"resume": [{"interruptId": "x", "status": "resolved", "payload": {"approved": True}}]}],
    "v1/chat/completions": [
        {"model": "openai/gpt-4o-mini", "messages": HI},
        {"messages": HI, "stream": True, "stream_options": {"include_usage": True}, "tools": [TOOL], "stop": ["a"]},
        {"messages": [*HI, {"role": "assistant", "tool_calls": [CALL]}, RESULT]},
    ],
    "v1/responses": [{"input": "hi"}, RESPONSE, {"input": "hi", "background": True, "previous_response_id": "resp_x"}],
}  # fmt: skip

ROUTES = [
    ("GET", "chat"), ("POST", "chat"), ("POST", "streams"), ("GET", "streams"), ("GET", "streams/{id}"),
    ("DELETE", "streams/{id}"), ("POST", "streams/{id}/cancel"), ("POST", "v1/chat/completions"),
    ("POST", "v1/responses"), ("GET", "v1/responses/{response}"), ("POST", "v1/responses/{response}/cancel"),
    ("DELETE", "v1/responses/{response}"), ("GET", "v1/models"), ("GET", "v1/models/{id}"), ("POST", "ui/chat"),
    ("GET", "ui/chat/{id}/stream"), ("DELETE", "ui/chat/{id}/stream"), ("POST", "ui/chat/{id}/stop"),
    ("POST", "agui"), ("POST", "agui/{id}/stop"), ("GET", "usage"), ("GET", "usage.json"), ("GET", "usage.csv"),
    ("GET", "static/{id}"), ("GET", "healthz"), ("GET", "readyz"), ("GET", "openapi.json"), ("GET", "{id}"),
]  # fmt: skip

QUERY = (
    "prompt", "model", "key", "format", "after", "offset", "live", "cursor", "stream", "starting_after", "since",
    "until", "by", "owner", "status", "back", "messages",
)  # fmt: skip
VALUES = [
    b"", b"hi", b"0", b"-1", b"now", b"000000000", b"999999999", b"9" * 400, b"-0", b"1e999", b"NaN", b"sse",
    b"long-poll", b"true", b"text", b"html", b"%00", b"%ff%fe", b"%ed%a0%80", b"%", b"%zz", b"%e2%80%ae", b"%0d%0a",
    b"+", b"x-0", b"x-99999999999", b"--", b"\xc3\xa9", b"\xff", b"'\"<>", b"%252e", b"2026-11-01", b"7d", b"99999y",
    b"99999-99-99", b"day", b"//evil.example", b"a" * 3000, b"%F0%9F%92%A9", b"\xd9\xa1",
]  # fmt: skip
IDS = [
    b"x", b"%00", b"%ff", b"..", b"%2e%2e", b"%2f", b"a/b", b"%2F%2F", b"resp_", b"resp_x", b"%", b"%zz", b"\xc3\xa9",
    b"%ed%a0%80", b"a" * 4000, b"%0d%0aX: y", b";", b"a;b=c", b"*", b"%20", b"llm-stream.js", b"llm-stream.js/", b"%5c",
]  # fmt: skip
METHODS = (b"HEAD", b"OPTIONS", b"PUT", b"PATCH", b"DELETE", b"TRACE", b"CONNECT", b"BREW", b"get", b"GET", b"POST")
HEADERS = (
    b"Last-Event-ID", b"Accept", b"Origin", b"Referer", b"Sec-Fetch-Site", b"Sec-Purpose", b"Idempotency-Key",
    b"If-None-Match", b"If-Match", b"If-Modified-Since", b"Range", b"Accept-Encoding", b"Cookie", b"Authorization",
    b"X-Forwarded-For", b"X-Forwarded-Proto", b"X-HTTP-Method-Override", b"Content-Encoding", b"Content-Type",
    b"Access-Control-Request-Method", b"Access-Control-Request-Headers", b"Cache-Control", b"Upgrade", b"Host", b"TE",
    b"Content-MD5", b"Content-Range", b"Forwarded", b"X-Script-Name", b"traceparent", b"Date",
)  # fmt: skip
HEADER_VALUES = [
    b"", b"*/*", b"text/event-stream", b"application/json", b"application/json;q=0", b"text/*;q=nan", b"a;q=1e999",
    b",,,;;;", b"null", b"http://[", b"http://[::1", b"https://evil.example", b"cross-site", b"prefetch", b"\xff\xfe",
    b"\xc3\xa9", b"x-1", b"-", b"-999999999", b"x-999999999999", b"\xd9\xa1", b'"', b'W/"x"', b"*", b"bytes=0-1",
    b"bytes=99-1,,", b"gzip", b"chunked", b"multipart/form-data", b"multipart/form-data; boundary=",
    b"application/json; charset=utf-7", b"application/json; charset=nonsense", b"application/x-www-form-urlencoded",
    b"a" * 7000, b"a=b; c=\"\\", b"=", b"127.0.0.1:99999", b"evil.example", b"100-continue", b"h2c", b"POST", b"\t x",
    b"application/problem+json", b"Thu, 01 Jan 1970 00:00:00 GMT", b"00-0-0-0",
]  # fmt: skip

Json = bytes
DEEP = 100_000


class Raw(str):
    """JSON text that `json` would not write."""


@dataclass(frozen=True)
class Wild:
    method: bytes
    path: bytes
    data: bytes
    is_short: bool
    """Whether the request announces more bytes than it sends. The client must then close its sending half."""


ODD: list[Any] = [
    None, True, -1, 0, 10**400, -(10**30), 1.5, "", Raw("1e999"), Raw("NaN"), Raw("-Infinity"), Raw("1E400"), Raw("-0"),
    Raw('"\\ud800"'), Raw('"\\u0000"'), "\x7f\u202e", "a" * 200, "a" * 70_000, [], {}, [[]], {"": {}}, {"type": "text"},
    [None] * 1500, {"$ref": "#"}, Raw("[" * DEEP + "]" * DEEP), Raw('{"a":' * 3000 + "1" + "}" * 3000),
    *(Raw("[" * deep + "]" * deep) for deep in (60, 150, 240, 450, 900, 985)), Raw('{"a":' * 480 + "{}" + "}" * 480),
    Raw('{"a":1,"a":2}'), "data:image/png;base64,", "http://evil.example/x.png", {str(n): n for n in range(300)},
    "😀\ufffe", "/", "\r\n\r\n", Raw('"\\ud83d"'),
]  # fmt: skip


def mutated(random: Random, value: Any) -> Any:
    """A copy in which something is replaced, omitted or added."""
    if isinstance(value, dict) and value and random.random() < 0.85:
        key = random.choice(list(value))
        change = random.random()
        if change < 0.1:
            return {name: kept for name, kept in value.items() if name != key}
        if change < 0.2:
            return value | {random.choice([*value, "x", "", "role", "type", "opaque", "result"]): random.choice(ODD)}
        return value | {key: mutated(random, value[key])}
    if isinstance(value, list) and value and random.random() < 0.85:
        at = random.randrange(len(value))
        return [*value[:at], mutated(random, value[at]), *value[at + 1 :]]
    return random.choice(ODD)


def encoded(value: Any) -> bytes:
    if isinstance(value, Raw):
        return value.encode()
    if isinstance(value, dict):
        pairs = (json.dumps(name).encode() + b":" + encoded(each) for name, each in value.items())
        return b"{" + b",".join(pairs) + b"}"
    if isinstance(value, list):
        return b"[" + b",".join(map(encoded, value)) + b"]"
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def body_for(random: Random, route: str) -> bytes:
    if route not in BODIES or random.random() < 0.08:
        junk = [
            b"",
            b"{",
            b"null",
            b"[]",
            b"\xff",
            b"\x00",
            b"\xef\xbb\xbf{}",
            b'"x"',
            b"1e999",
            b"[" * DEEP,
            b"{}" * 9,
        ]
        return random.choice(
            [*junk, b'{"prompt":"' + b"a" * 1_100_000 + b'"}', b"prompt=hi", b'{"prompt":"\xed\xa0\x80"}']
        )
    value = random.choice(BODIES[route])
    for _ in range(random.choice((0, 1, 1, 1, 2, 5))):
        value = mutated(random, value)
    data = encoded(value)
    return data[: random.randrange(len(data) + 1)] if random.random() < 0.05 else data


def framed(random: Random, body: bytes) -> tuple[list[bytes], bytes, bool]:
    """The headers, the sent body, and whether the body is shorter than announced."""
    length = b"Content-Length: %d" % len(body)
    kind = random.random()
    if kind < 0.75:
        return [length], body, False
    if kind < 0.83:
        return (
            [b"Transfer-Encoding: chunked"],
            b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n",
            False,
        )
    lies: list[tuple[list[bytes], bytes, bool]] = [
        ([b"Content-Length: %d" % (len(body) + 7)], body, True),
        ([b"Content-Length: %d" % max(0, len(body) - 3)], body, False),
        ([b"Content-Length: -1"], body, False),
        ([b"Content-Length: 1e3"], body, False),
        ([b"Content-Length: 99999999999999999999"], body, True),
        ([length, b"Content-Length: 1"], body, False),
        ([length, b"Transfer-Encoding: chunked"], b"0\r\n\r\n", False),
        ([b"Transfer-Encoding: gzip"], body, True),
        ([b"Transfer-Encoding: chunked"], b"zz\r\n" + body, True),
        ([b"Transfer-Encoding: chunked"], b"ffffffffffffffffffff\r\n" + body, True),
        ([b"Transfer-Encoding: chunked"], b"5;x=y\r\n{}{}\n\r\n0\r\nTrailer: x\r\n\r\n", False),
        ([length, b"Expect: 100-continue"], body, False),
        ([length, b"Expect: a miracle"], body, False),
        ([], body, True),
    ]  # fmt: skip
    return random.choice(lies)


def request(random: Random, ids: Sequence[tuple[str, bytes]]) -> Wild:
    """`ids` are the ids of existing streams and responses: ("id" or "response", its id)."""
    method, route = random.choice(ROUTES)
    path = b"/llm/" + route.encode()
    for kind in ("id", "response"):
        known = [found for name, found in ids if name == kind]
        path = path.replace(b"{%b}" % kind.encode(), random.choice(known if random.random() < 0.5 else IDS))
    if random.random() < 0.05:
        path += random.choice((b"/", b"//", b"/x", b"%00", b"?", b"#x", b"/../healthz"))
    pairs = [
        random.choice(QUERY).encode() + random.choice((b"=", b"=", b"=", b"", b"[]="))
        + (random.choice([found for _, found in ids]) + b"-1" if random.random() < 0.1 else random.choice(VALUES))
        for _ in range(random.choice((0, 0, 1, 2, 4)))
    ]  # fmt: skip
    if route == "chat" and method == "GET" and random.random() < 0.6:
        pairs.append(b"prompt=hi")
    target = path + (b"?" + b"&".join(pairs) if pairs else b"")
    verb = random.choice(METHODS) if random.random() < 0.08 else method.encode()
    lines = [b"%b %b HTTP/1.1" % (verb, target)]
    if random.random() < 0.98:
        lines.append(b"Host: 127.0.0.1")
    for _ in range(random.choice((0, 0, 1, 2, 3))):
        lines.append(b"%b: %b" % (random.choice(HEADERS), random.choice(HEADER_VALUES)))
    body, is_short = b"", False
    if verb not in (b"GET", b"HEAD") or random.random() < 0.1:
        if random.random() < 0.93:
            lines.append(b"Content-Type: application/json")
        framing, body, is_short = framed(random, body_for(random, route))
        lines += framing
    data = b"\r\n".join([*lines, b"Connection: close", b"", b""]) + body
    return Wild(verb, path, data, is_short)
