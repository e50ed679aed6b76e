"""Any bytes as the body of an answer: what must hold, whatever they are and however the network divides them."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import httpx2
import msgspec
from openai import OpenAI

from llm_stream.chat_request import ChatRequest
from llm_stream.errors import StreamError
from llm_stream.events import Event
from llm_stream.upstream.api import Api
from llm_stream.upstream.call import Call
from llm_stream.upstream.chat import ChatCompletions
from llm_stream.upstream.ending import Ending
from llm_stream.upstream.http1 import body_of
from llm_stream.upstream.responses import Responses
from llm_stream.upstream.source import Attempt
from llm_stream.upstream.source import Waits

REQUEST = ChatRequest(messages=[{"role": "user", "content": "hi"}], model="m", max_output_tokens=10)
APIS: tuple[Api, ...] = (ChatCompletions(OpenAI(api_key="none")), Responses())
FRAMINGS: tuple[list[tuple[bytes, bytes]], ...] = ([], [(b"transfer-encoding", b"chunked")])
MOST_PIECES = 200

Outcome = tuple[list[Event], str]


class Given:
    """Answers each request with the same bytes, in these pieces."""

    def __init__(self, api: Api, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> None:
        self.api = api
        self._headers = headers
        self._pieces = pieces

    def post(self, _: Any) -> httpx2.Response:
        return httpx2.Response(200, headers=self._headers, stream=Pieces(self._headers, self._pieces))


class Pieces(httpx2.SyncByteStream):
    """As the transport reads them."""

    def __init__(self, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> None:
        self._headers = headers
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        body = body_of("POST", 200, self._headers)
        for piece in self._pieces:
            if payload := body.feed(piece):
                yield payload
            if body.error is not None:
                raise body.error
            if body.done:
                return
            yield b""
        body.at_end()


def check(data: bytes) -> None:
    """Any bytes: the first two choose the API, the framing and the split. Raises `AssertionError`."""
    if len(data) < 2:
        return
    choice, seed, body = data[0], data[1], data[2:]
    api, framing = APIS[choice % 2], FRAMINGS[choice // 2 % 2]
    whole = outcome(api, framing, [body])
    assert outcome(api, framing, divided(body, seed)) == whole, "the split makes a difference"


def divided(body: bytes, seed: int) -> list[bytes]:
    pick = Random(seed)
    size = max(1, len(body) // MOST_PIECES) if seed % 4 else max(1, len(body) // 3)
    pieces, at = [], 0
    while at < len(body):
        end = at + pick.randint(1, 2 * size)
        pieces.append(body[at:end])
        at = end
    return pieces


def outcome(api: Api, headers: list[tuple[bytes, bytes]], pieces: list[bytes]) -> Outcome:
    """The events of an answer, in one list, with neighbouring texts as they came, and how it ended."""
    attempt = Attempt("m", accepted=True)
    came = drained(Call(Given(api, headers, pieces), REQUEST, attempt))  # type: ignore[arg-type]
    for text in (attempt.upstream_model, attempt.request_id, attempt.service_tier):
        assert text is None or text.encode() is not None
    return came


def drained(call: Call) -> Outcome:
    """The events of a call, and how it ended, which is by one `Ending` or one `StreamError`."""
    events: list[Event] = []
    endings: list[str] = []
    try:
        for batch in call.batches():
            if isinstance(batch, Ending):
                endings.append(f"{batch.status} {batch.finish_reason}")
            elif not isinstance(batch, Waits):
                assert not endings, "events after the end"
                events += batch
    except StreamError as error:
        assert not endings, "an error after the end"
        endings.append(type(error).__name__)
    assert len(endings) == 1, endings
    msgspec.json.encode(events)
    return [stable(event) for event in events], endings[0]


def stable(event: Event) -> Event:
    """Without an id that was made up here."""
    if event.type == "tool_call" and str(getattr(event, "id", "")).startswith("call_"):
        return msgspec.structs.replace(event, id="call_")
    return event
