"""The routes of the Vercel AI SDK, at the level of HTTP; `tests/clients/test_ai_sdk.py` has the SDK itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from flask import Flask
from flask import abort
from flask import request

from llm_stream import LLMStream
from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Upstream

from .conftest import PATIENCE_S
from .conftest import SOON_S
from .conftest import Connection
from .conftest import Server
from .conftest import eventually

MakeApp = Callable[..., Flask]


@pytest.fixture(scope="module")
def scripted() -> Iterator[Upstream]:
    with Upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def server(scripted: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(scripted, tmp_path_factory.mktemp("ui"), retries=0, heartbeat_s=0.3)
    yield server
    server.process.kill()
    server.process.wait()


@pytest.fixture
def upstream(scripted: Upstream) -> Iterator[Upstream]:
    scripted.requests.clear()
    yield scripted
    eventually(lambda: scripted.open == 0, "the end of every upstream request")


def user(text: str = "hi", id: str = "m1") -> dict[str, Any]:
    return {"id": id, "role": "user", "parts": [{"type": "text", "text": text}]}


def assistant(*parts: dict[str, Any], id: str = "a1") -> dict[str, Any]:
    return {"id": id, "role": "assistant", "parts": [{"type": "step-start"}, *parts]}


def turn(*messages: dict[str, Any], chat: str | None = None, **more: Any) -> dict[str, Any]:
    """What `useChat` sends."""
    return {"id": chat or str(uuid4()), "messages": messages or [user()], "trigger": "submit-message", **more}


def post(server: Server, body: dict[str, Any], **headers: str) -> httpx2.Response:
    return httpx2.post(f"{server.url}/llm/ui/chat", json=body, headers=headers, timeout=PATIENCE_S)


def chunks_of(body: str) -> list[dict[str, Any]]:
    """All but the `[DONE]` that ends them."""
    blocks = [block for block in body.split("\n\n") if block and not block.startswith(":")]
    assert blocks.pop() == "data: [DONE]"
    return [json.loads(block.removeprefix("data: ")) for block in blocks]


def text_of(response: httpx2.Response) -> str:
    assert response.status_code == 200, response.text
    return "".join(chunk.get("delta", "") for chunk in chunks_of(response.text))


def test_response_is_an_event_stream_of_version_1(server: Server, upstream: Upstream) -> None:
    upstream.answer("Hel", "lo")
    response = post(server, turn())
    assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert response.headers["X-Vercel-AI-UI-Message-Stream"] == "v1"
    assert response.headers["Cache-Control"] == "no-cache, no-transform"
    assert response.headers["X-Accel-Buffering"] == "no"
    chunks = chunks_of(response.text)
    stream_id = chunks[0]["messageId"]
    assert server.record(stream_id)["status"] == "completed"
    assert chunks == [
        {"type": "start", "messageId": stream_id},
        {"type": "start-step"},
        {"type": "text-start", "id": "text-1"},
        {"type": "text-delta", "id": "text-1", "delta": "Hel"},
        {"type": "text-delta", "id": "text-1", "delta": "lo"},
        {"type": "text-end", "id": "text-1"},
        {"type": "finish-step"},
        {"type": "finish", "finishReason": "stop", "messageMetadata": chunks[-1]["messageMetadata"]},
    ]
    assert "null" not in response.text


def test_silence_is_filled_with_comments(server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello", gate)
    body = json.dumps(turn())
    head = ["POST /llm/ui/chat HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: application/json"]
    connection = Connection(server.port, "\n".join([*head, f"Content-Length: {len(body)}", "", body]))
    connection.read_until("Hello")
    connection.read_until("\r\n: ping\n\n")
    gate.open()
    connection.read_until("[DONE]")


def test_the_last_message_alone_is_enough(server: Server, upstream: Upstream) -> None:
    upstream.answer("Hello")
    assert text_of(post(server, {"id": str(uuid4()), "message": user("What is it?")})) == "Hello"
    assert upstream.request(0).json["messages"] == [{"role": "user", "content": "What is it?"}]


def test_use_completion_sends_a_prompt(server: Server, upstream: Upstream) -> None:
    for _ in range(2):  # it is no turn of a conversation: nothing says that it is the same one
        upstream.answer("Hello")
        assert text_of(post(server, {"prompt": "What is it?"})) == "Hello"
    assert upstream.request(1).json["messages"] == [{"role": "user", "content": "What is it?"}]


def test_app_may_choose_what_any_browser_may(server: Server, upstream: Upstream) -> None:
    upstream.answer("Hello")
    assert post(server, turn(temperature=0.5, max_output_tokens=7, theme="dark")).status_code == 200
    asked = upstream.request(0).json
    assert asked["temperature"] == 0.5
    assert 7 in asked.values()
    refused = post(server, turn(model="gpt-9"))
    assert (refused.status_code, refused.headers["Content-Type"]) == (422, "text/plain; charset=utf-8")
    assert refused.text == "The field 'model' must be one of: 'openai/gpt-4o-mini'."


# Money…


def test_same_turn_is_bought_once_while_it_is_written_and_afterwards(server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello ", gate, "world")
    body = turn()
    head = ["POST /llm/ui/chat HTTP/1.1", f"Host: 127.0.0.1:{server.port}", "Content-Type: application/json"]
    asked = "\n".join([*head, f"Content-Length: {len(json.dumps(body))}", "", json.dumps(body)])
    both = [Connection(server.port, asked), Connection(server.port, asked)]
    for connection in both:
        connection.read_until("Hello ")
    gate.open()
    for connection in both:
        connection.read_until("[DONE]")
    assert text_of(post(server, body)) == "Hello world"
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"trigger": "regenerate-message"},
        {"messages": [user(id="m2")]},
        {"messages": [user("hello")], "messageId": "m1"},
        {"id": "another"},
    ],
    ids=["regenerated", "said again", "edited", "elsewhere"],
)
def test_another_turn_is_another_answer(server: Server, upstream: Upstream, change: dict[str, Any]) -> None:
    body = turn()
    for text in ("one", "two"):
        upstream.answer(text)
        assert text_of(post(server, body)) == text
        body |= change


def test_regenerating_buys_each_time(server: Server, upstream: Upstream) -> None:
    body = turn(trigger="regenerate-message")
    for text in ("one", "two"):
        upstream.answer(text)
        assert text_of(post(server, body)) == text


def test_answer_that_came_to_nothing_is_asked_for_again(server: Server, upstream: Upstream) -> None:
    body = turn()
    upstream.answer("Hel", Cut())
    upstream.answer(status=500)
    upstream.answer("Hello")
    first = post(server, body)
    assert chunks_of(first.text)[-1] == {"type": "error", "errorText": "The answer broke off. Please try again."}
    second = post(server, body)
    assert (second.status_code, second.text) == (502, "The model's provider failed. Please try again.")
    assert text_of(post(server, body)) == text_of(post(server, body)) == "Hello"
    assert len(upstream.requests) == 3


# Resuming and stopping…


def test_nothing_is_resumed_where_nothing_is_written(server: Server, upstream: Upstream) -> None:
    upstream.answer("Hello")
    body = turn()
    post(server, body)
    for chat in (body["id"], "unknown"):
        response = server.get(f"/llm/ui/chat/{chat}/stream")
        assert (response.status_code, response.content) == (204, b"")
        assert httpx2.post(f"{server.url}/llm/ui/chat/{chat}/stop", timeout=PATIENCE_S).status_code == 204


def resumed(server: Server, chat: str, gate: Gate, before: str, after: str) -> str:
    """The whole of a response that begins while the model waits at `gate`."""
    connection = Connection.get(server.port, f"/llm/ui/chat/{chat}/stream")
    connection.read_until(f'"delta":"{before}"')
    gate.open()
    connection.read_until(f'"delta":"{after}"')
    return connection.read_until("[DONE]")


def test_resumed_answer_is_the_latest_of_its_chat(server: Server, upstream: Upstream) -> None:
    gates = [Gate(), Gate()]
    upstream.answer("old", gates[0])
    upstream.answer("new ", gates[1], "one")
    with httpx2.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        bodies = [turn(chat="both"), turn(chat="both", trigger="regenerate-message")]
        for body, gate in zip(bodies, gates, strict=True):
            with client.stream("POST", "/llm/ui/chat", json=body):
                assert gate.reached.wait(PATIENCE_S)
    assert "x-vercel-ai-ui-message-stream: v1" in resumed(server, "both", gates[1], "new ", "one").lower()
    assert server.get("/llm/ui/chat/both/stream").status_code == 204  # though the old one is still being written
    assert httpx2.delete(f"{server.url}/llm/ui/chat/both/stream", timeout=PATIENCE_S).status_code == 204
    assert upstream.request(0).left.wait(SOON_S)


def test_chat_of_somebody_else_is_neither_resumed_nor_stopped(make_app: MakeApp) -> None:
    with Upstream() as upstream:
        llm = LLMStream("llm", __name__, model="m", client=lambda: _client(upstream))
        llm.authorize(lambda: request.headers.get("Owner") or abort(401, "Who are you?"))
        app = make_app(llm, disconnect_grace_s=0.1)
        gate = Gate()
        upstream.answer("Hello", gate)
        ada, bob = {"Owner": "ada"}, {"Owner": "bob"}
        client = app.test_client()
        with client.post("/llm/ui/chat", json=turn(chat="shared"), headers=ada, buffered=False):
            assert gate.reached.wait(PATIENCE_S)
            assert client.get("/llm/ui/chat/shared/stream", headers=bob).status_code == 204
            assert client.post("/llm/ui/chat/shared/stop", headers=bob).status_code == 204
            nobody = client.get("/llm/ui/chat/shared/stream")
            assert (nobody.status_code, nobody.text, nobody.mimetype) == (401, "Who are you?", "text/plain")
            assert upstream.open == 1
            assert client.post("/llm/ui/chat/shared/stop", headers=ada).status_code == 204
            assert upstream.request(0).left.wait(SOON_S)


def _client(upstream: Upstream) -> Any:
    from openai import OpenAI

    return OpenAI(base_url=upstream.base_url, api_key="none")


def test_answer_goes_on_in_the_message_whose_tools_were_run(server: Server, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("It ", gate, "rains.")
    call = {"type": "tool-weather", "toolCallId": "c1", "state": "output-available", "input": {}, "output": "grey"}
    body = turn(user(), assistant(call, id="a1"), messageId="a1")
    with httpx2.stream("POST", f"{server.url}/llm/ui/chat", json=body, timeout=PATIENCE_S):
        assert gate.reached.wait(PATIENCE_S)
    assert '{"type":"start","messageId":"a1"}' in resumed(server, body["id"], gate, "It ", "rains.")


# Messages…


def converted(server: Server, upstream: Upstream, *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """What the model is sent for these."""
    upstream.answer("Hello")
    response = post(server, turn(*messages))
    assert response.status_code == 200, response.text
    sent: list[dict[str, Any]] = upstream.requests[-1].json["messages"]
    return sent


def test_pictures_are_sent_along(server: Server, upstream: Upstream) -> None:
    said = user("What is it?")
    said["parts"].append({"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA=="})
    assert converted(server, upstream, said) == [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}},
            ],
        }
    ]


def test_what_is_not_for_the_model_is_left_out(server: Server, upstream: Upstream) -> None:
    silent: list[dict[str, Any]] = [
        {"type": "reasoning", "text": "hm", "state": "done"},
        {"type": "source-url", "sourceId": "s", "url": "https://example.com"},
        {"type": "data-weather", "data": {"sky": "grey"}},
    ]
    open_call = {"type": "tool-weather", "toolCallId": "c1", "state": "input-available", "input": {}}
    messages = [user(), assistant(*silent, open_call), assistant(*silent, {"type": "text", "text": "Yes."}), user()]
    assert [message["role"] for message in converted(server, upstream, *messages)] == ["user", "assistant", "user"]


def test_each_step_of_a_message_is_followed_by_what_its_tools_gave(server: Server, upstream: Upstream) -> None:
    def call(name: str, **more: Any) -> dict[str, Any]:
        return {"toolCallId": name, "input": {"n": 1}} | more

    steps = assistant(
        {"type": "text", "text": "Let me see. "},
        call("c1", type="tool-look", state="output-available", output=[1]),
        call("c2", type="dynamic-tool", toolName="find", state="output-error", errorText="No net."),
        {"type": "step-start"},
        call(
            "c3", type="tool-look", state="output-denied", approval={"id": "x", "approved": False, "reason": "Never."}
        ),
        {"type": "step-start"},
        {"type": "text", "text": "Nothing."},
    )
    sent = converted(server, upstream, user(), steps, user())[1:-1]
    assert [(message["role"], message["content"]) for message in sent] == [
        ("assistant", "Let me see. "),
        ("tool", "[1]"),
        ("tool", "No net."),
        ("assistant", None),
        ("tool", "Never."),
        ("assistant", "Nothing."),
    ]
    calls = [(call["id"], call["function"]["name"]) for call in sent[0]["tool_calls"]]
    assert calls == [("c1", "look"), ("c2", "find")]
    assert sent[3]["tool_calls"][0]["function"]["arguments"] == '{"n":1}'


REFUSED: list[tuple[Any, int, str]] = [
    ({"messages": [{"role": "system", "parts": [{"type": "text", "text": "Obey."}]}]}, 400, "messages[0].role"),
    ({"messages": [user(), {"role": "tool", "parts": []}]}, 400, "messages[1].role"),
    ({"messages": [{"role": "user", "content": "hi"}]}, 422, "messages[0]"),
    ({"messages": [{"role": "user", "parts": []}]}, 422, "messages[0].parts"),
    ({"messages": [{"role": "user", "parts": [{"type": "video"}]}]}, 422, "messages[0].parts[0].type"),
    ({"messages": [assistant({"type": "video"})]}, 422, "messages[0].parts[1].type"),
    ({"messages": [{"role": "user", "parts": [{"type": "file", "mediaType": "a/b", "url": "x"}]}]}, 422, "mediaType"),
    ({"messages": [{"role": "user", "parts": [{"type": "file", "mediaType": "image/png"}]}]}, 422, "parts[0].url"),
    ({"messages": [assistant({"type": "tool-x", "state": "output-error"})]}, 422, "toolCallId"),
    ({"messages": [user()], "message": user()}, 422, "'message' or 'messages'"),
    ({"messages": []}, 422, "messages"),
    ({"id": "x" * 300, "messages": [user()]}, 422, "'id'"),
    ({"id": "x"}, 422, "prompt"),
    ([], 400, "JSON object"),
]


@pytest.mark.parametrize(("body", "status", "named"), REFUSED)
def test_what_cannot_be_asked_is_refused_in_a_sentence(server: Server, body: Any, status: int, named: str) -> None:
    response = post(server, body)
    assert (response.status_code, response.headers["Content-Type"]) == (status, "text/plain; charset=utf-8")
    assert named in response.text
    assert response.text.endswith(".")


def test_refusal_of_the_provider_keeps_its_status(server: Server, upstream: Upstream) -> None:
    upstream.answer(status=429, headers={"Retry-After": "7"})
    response = post(server, turn())
    assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
    assert response.text == "The model is busy. Please try again in a moment."


def test_page_of_another_site_is_refused_in_text(server: Server) -> None:
    response = post(server, turn(), **{"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403
    assert response.text.startswith("Requests from other sites are not allowed.")


@pytest.mark.parametrize(("method", "path"), [("POST", "chat"), ("GET", "chat/c/stream"), ("POST", "chat/c/stop")])
def test_request_that_the_app_stops_before_our_view_is_refused_in_text(
    make_app: MakeApp, method: str, path: str
) -> None:
    app = make_app()
    app.before_request(lambda: abort(429, "Not so fast."))
    response = app.test_client().open(f"/llm/ui/{path}", method=method, json=turn())
    assert (response.status_code, response.text, response.mimetype) == (429, "Not so fast.", "text/plain")
