"""curl, and what a shell makes of the native and the plain wire."""

from __future__ import annotations

import json
import re
import subprocess
from typing import Any

import pytest

from llm_stream.testing import Cut
from llm_stream.testing import Gate
from llm_stream.testing import Stall
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..agent_events import DATA
from ..agent_events import RESULT
from ..agent_events import SOURCE
from ..agent_events import STEP
from ..conftest import PATIENCE_S
from ..conftest import Event
from ..conftest import Server
from ..conftest import of_kind
from ..conftest import require
from ..conftest import text_of
from .scripts import AWKWARD
from .scripts import CALLED
from .scripts import TOOLS
from .scripts import USAGE
from .scripts import USED
from .scripts import called
from .scripts import reasoning

URL = "/llm/chat?prompt=hi"


class Curl:
    def __init__(self, program: str, server: Server) -> None:
        self._command = [program, "-sN", "--max-time", "20"]
        self._url = server.url

    def __call__(self, path: str, *options: str) -> bytes:
        return subprocess.run(
            [*self._command, *options, self._url + path], capture_output=True, timeout=PATIENCE_S
        ).stdout

    def events(self, path: str = URL, *options: str) -> list[Event]:
        return read_events(self(path, *options))

    def reading(self, path: str = URL) -> subprocess.Popen[bytes]:
        return subprocess.Popen([*self._command, self._url + path], stdout=subprocess.PIPE)


@pytest.fixture
def curl(server: Server) -> Curl:
    return Curl(require("curl", "curl"), server)


def test_text_is_exact(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    assert text_of(curl.events()) == "".join(AWKWARD)


def test_text_of_the_plain_form(curl: Curl, upstream: Upstream) -> None:
    upstream.answer("two\nlines")
    lines = curl(f"{URL}&format=text").decode().splitlines()
    assert [line for line in lines if line.startswith("data:")] == ["data: two", "data: lines", "data: [DONE]"]


def test_text_of_a_post_without_a_stream(curl: Curl, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=USAGE)
    answer = json.loads(curl("/llm/chat", "--json", '{"prompt": "hi"}'))
    assert (answer["text"], answer["status"], answer["usage"]) == ("Hello", "completed", USED)


def test_tools_come_in_fragments(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(*TOOLS, finish_reason="tool_calls")
    assert called(curl.events()) == CALLED


def test_reasoning_has_its_own_event(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(reasoning("Let me "), reasoning("see."), "Yes.")
    events = curl.events()
    assert "".join(data["text"] for _, kind, data in events if kind == "reasoning") == "Let me see."
    assert text_of(events) == "Yes."


def test_usage_has_tokens_and_cost(curl: Curl, upstream: Upstream) -> None:
    upstream.answer("Hello", usage=USAGE)
    assert of_kind(curl.events(), "usage") == USED


def test_error_in_the_middle_is_an_event(curl: Curl, upstream: Upstream) -> None:
    upstream.answer("Hel", Cut())
    events = curl.events()
    assert (text_of(events), of_kind(events, "failure")["code"]) == ("Hel", "upstream_cut")


def test_error_before_the_first_event_of_a_post_is_a_status(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(status=401)
    body = '{"prompt": "hi"}'
    told = curl("/llm/chat", "--json", body, "-H", "Accept: text/event-stream", "-w", "\n%{http_code}").decode()
    error, _, status = told.rpartition("\n")
    assert (status, json.loads(error)["error"]["code"]) == ("502", "upstream_refused")


def test_stop_by_another_request(curl: Curl, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("Hello", gate, Stall())
    with curl.reading() as process:
        assert process.stdout and gate.reached.wait(PATIENCE_S)
        first = b"".join(iter(process.stdout.readline, b"\n"))
        stream_id = read_events(first)[0][2]["id"]
        curl(f"/llm/streams/{stream_id}", "-X", "DELETE")
        events = read_events(process.stdout.read())
    assert of_kind(events, "done")["status"] == "cancelled"
    gate.open()


def test_resume_after_the_last_event(curl: Curl, upstream: Upstream) -> None:
    gate = Gate()
    upstream.answer("one ", gate, "two")
    with curl.reading() as process:
        assert process.stdout and gate.reached.wait(PATIENCE_S)
        lines: list[bytes] = []
        while b"one" not in b"".join(lines):
            lines.append(process.stdout.readline())
        process.kill()
    gate.open()
    before = read_events(b"".join(lines) + b"\n")
    after = curl.events(URL, "-H", f"Last-Event-ID: {before[-1][0]}")
    assert text_of(before + after) == "one two"
    assert [int(name.rpartition("-")[2]) for name, _, _ in before + after] == [1, 2, 3, 4, 5]


def test_tool_results_are_events(curl: Curl) -> None:
    assert of_kind(curl.events("/agent"), "tool_result") == RESULT


def test_steps_are_events(curl: Curl) -> None:
    assert of_kind(curl.events("/agent"), "step") == STEP


def test_sources_are_events(curl: Curl) -> None:
    assert of_kind(curl.events("/agent"), "source") == SOURCE


def test_data_is_an_event(curl: Curl) -> None:
    assert of_kind(curl.events("/agent"), "data") == DATA


def test_responses_stream_from_any_number(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    whole = curl("/llm/v1/responses", "--json", '{"input": "hi", "stream": true}')
    events = responses_events(whole)
    assert "".join(event.get("delta", "") for event in events) == "".join(AWKWARD)
    url = f"/llm/v1/responses/{events[0]['response']['id']}"
    assert responses_events(curl(f"{url}?stream=true&starting_after=5")) == events[6:]
    assert json.loads(curl(url)) == events[-1]["response"]
    assert len(upstream.requests) == 1


def responses_events(body: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in body.split(b"\n") if line.startswith(b"data: ")]


def test_offset_reads_on(curl: Curl, upstream: Upstream) -> None:
    upstream.answer(*AWKWARD)
    url = json.loads(curl("/llm/streams", "--json", '{"prompt": "hi"}'))["url"]
    messages: list[dict[str, Any]] = []
    offset = "-1"
    while not messages or messages[-1]["type"] != "done":
        head, _, body = curl(f"{url}?offset={offset}&live=long-poll", "-i").partition(b"\r\n\r\n")
        offset = re.findall(r"(?i)stream-next-offset: (\S+)", head.decode())[0]
        messages += json.loads(body)
    assert "".join(message.get("text", "") for message in messages) == "".join(AWKWARD)
    assert [message["sequence_number"] for message in messages] == list(range(1, len(messages) + 1))
