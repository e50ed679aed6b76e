"""The kinds of requests to measure, each as large as the settings allow. None may delay other streams."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx2

READERS = 100
SETTLE_S = 0.3
MOST_MESSAGES = 990
MOST_SCHEMA = 131_072


class Client:
    """Sends requests to the server, and reads the answers to their ends."""

    def __init__(self, url: str, size: int) -> None:
        self.size = size
        self._http = httpx2.Client(base_url=url, timeout=120, limits=httpx2.Limits(max_keepalive_connections=0))
        self.kept: dict[str, str] = {}
        """Ids of earlier streams, by the name of their model."""

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        return self._http.post(path, json=body, headers=headers)

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self._http.get(path, headers=headers)

    def read(self, path: str, **headers: str) -> int:
        """The number of bytes."""
        with self._http.stream("GET", path, headers=headers) as response:
            return sum(map(len, response.iter_raw()))

    def ask_and_stop(self, model: str, enough: int, path: str = "/llm/chat") -> str:
        """Read this many bytes of an answer, then stop it. Returns its id."""
        with self._http.stream("POST", path, json={"prompt": "hi", "model": model}) as response:
            stream_id = response.headers["x-llm-stream-id"]
            read = 0
            for piece in response.iter_raw():
                read += len(piece)
                if read >= enough:
                    break
        self._http.request("DELETE", f"/llm/streams/{stream_id}")
        time.sleep(SETTLE_S)
        return stream_id

    def text(self, unit: str, share: float = 0.9) -> str:
        """Text whose JSON is nearly as long as a request may be."""
        return unit * int(self.size * share / (len(json.dumps(unit)) - 2))


@dataclass(frozen=True)
class Kind:
    name: str
    bound: str
    """The limit that keeps the work short."""
    ask: Callable[[Client], object]
    statuses: tuple[int, ...] = (200,)
    """The allowed statuses of the response."""


def chat(unit: str, path: str = "/llm/chat", model: str = "short") -> Callable[[Client], object]:
    return lambda client: client.post(path, {"prompt": client.text(unit), "model": model})


def turns(client: Client) -> list[dict[str, Any]]:
    """As many messages as a request may have, in a body of nearly the maximum size."""
    count = min(MOST_MESSAGES, client.size // 100)
    text = "hello " * ((client.size // count - 80) // 6)
    return [{"id": str(n), "role": ("user", "assistant")[n % 2], "content": text} for n in range(count)]


def many_messages(client: Client) -> object:
    messages = [{"role": turn["role"], "content": turn["content"]} for turn in turns(client)]
    return client.post("/llm/chat", {"messages": messages, "model": "short"})


def deep(client: Client) -> object:
    body = b'{"prompt": ' + b"[" * (client.size // 2 - 20) + b"]" * (client.size // 2 - 20) + b"}"
    return client._http.post("/llm/chat", content=body, headers={"Content-Type": "application/json"})


def schema(size: int) -> dict[str, Any]:
    fields = {f"field_{n}": {"type": "string", "description": "words " * 8} for n in range(size // 120)}
    return {"type": "object", "properties": fields}


def functions(client: Client, count: int = 100) -> list[dict[str, Any]]:
    size = int(0.9 * client.size / count)
    return [{"name": f"tool_{n}", "description": "d", "parameters": schema(size)} for n in range(count)]


def completions(client: Client) -> object:
    tools = [{"type": "function", "function": function} for function in functions(client)]
    body = {"model": "short", "messages": [{"role": "user", "content": "hi"}], "tools": tools}
    return client.post("/llm/v1/chat/completions", body)


def with_format(client: Client) -> object:
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema(min(MOST_SCHEMA, client.size) // 2)}}
    body = {"model": "short", "messages": [{"role": "user", "content": "hi"}], "response_format": form}
    return client.post("/llm/v1/chat/completions", body)


def responses(client: Client) -> object:
    tools = [{"type": "function", **function} for function in functions(client)]
    return client.post("/llm/v1/responses", {"model": "short", "input": "hi", "tools": tools})


def history(client: Client) -> object:
    items = [{"role": "user", "content": turn["content"]} for turn in turns(client)]
    answer = client.post("/llm/v1/responses", {"model": "short", "input": items})
    client.kept["history"] = answer.json()["id"]
    return answer


def continued(client: Client) -> object:
    body = {"model": "short", "input": "and?", "previous_response_id": client.kept["history"]}
    return client.post("/llm/v1/responses", body)


def ui(client: Client) -> object:
    parts = [{"type": "text", "text": "some words"} for _ in range(int(0.9 * client.size) // 40)]
    message = {"id": "1", "role": "user", "parts": parts}
    return client.post("/llm/ui/chat", {"id": f"chat-{time.monotonic()}", "messages": [message]})


def agui(client: Client) -> object:
    asked = {"threadId": "t", "runId": f"r-{time.monotonic()}", "messages": turns(client), "tools": [], "context": []}
    return client.post("/llm/agui", {**asked, "state": {}, "forwardedProps": {}})


def aborted(client: Client) -> None:
    """An answer whose tokens must be estimated, because the provider reports none."""
    client.kept["endless"] = client.ask_and_stop("endless", client.size)


def kept_whole(client: Client) -> None:
    body = {"model": "whole", "input": "hi", "stream": True}
    with client._http.stream("POST", "/llm/v1/responses", json=body) as response:
        client.kept["whole"] = response.headers["x-llm-stream-id"]
        for _ in response.iter_raw():
            pass


def again(client: Client) -> object:
    return client.read(f"/llm/streams/{client.kept['whole']}")


def again_by_all(client: Client) -> object:
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda _: again(client), range(READERS)))


def snapshot(client: Client) -> object:
    return client.get(f"/llm/streams/{client.kept['whole']}", Accept="application/json")


def retrieved(client: Client) -> object:
    return client.get(f"/llm/v1/responses/resp_{client.kept['whole']}")


def retrieved_as_stream(client: Client) -> object:
    return client.read(f"/llm/v1/responses/resp_{client.kept['whole']}?stream=true")


def whole_as_json(client: Client) -> object:
    return client.post("/llm/chat", {"prompt": "hi", "model": "whole"}, Accept="application/json")


def usage(path: str) -> Callable[[Client], object]:
    return lambda client: client.read(f"/llm/{path}")


def dashes(client: Client) -> None:
    client.ask_and_stop("dashes", 100)


def structured(client: Client) -> object:
    return client.post("/structured?model=invoice", {})


def asked(model: str, path: str = "/llm/chat") -> Callable[[Client], object]:
    return lambda client: client.post(path, {"prompt": "hi", "model": model})


LOADED = "loaded when the worker starts"
THREAD = "reading certificates is done in a thread"
PIECES = "text is counted in a thread, in pieces of 16 KiB"
PARSED = "`LLM_STREAM_MAX_REQUEST_BYTES`; JSON is parsed in C"
SLICES = "256 events are written, then others run"
MERGED = "pieces of the same text are joined first"
DAYS = "summed and rendered in threads; sums of past days are kept"

KINDS = [
    Kind("a first call by HTTPS", THREAD, asked("secure"), (502, 503)),
    Kind("the first price from the public lists", "the lists are loaded when the worker starts", asked("gpt-4o-mini")),
    Kind("a model that the price lists do not have", LOADED, asked("no-such-model-anywhere")),
    Kind("990 messages", PARSED, many_messages),
    Kind("one message of words", PARSED, chat("some words ")),
    Kind("one message of spaces", PARSED, chat(" ")),
    Kind("one message of dashes", PARSED, chat("-")),
    Kind("one message of Chinese", PARSED, chat("漢字")),
    Kind("one message of emoji", PARSED, chat("🧠")),
    Kind("words, with a budget: they are counted", PIECES, chat("some words ", "/paid/chat", "gpt-4o-mini")),
    Kind("dashes, with a budget: they are counted", PIECES, chat("-", "/paid/chat", "gpt-4o-mini")),
    Kind("dashes, and the answer is cut: they are counted", PIECES, chat("-", "/llm/chat", "cut")),
    Kind("JSON as deep as it is long", PARSED, deep, (400,)),
    Kind("`/v1/chat/completions`, 100 tools with large schemas", PARSED, completions),
    Kind("`/v1/chat/completions`, a large `response_format`", PARSED, with_format),
    Kind("`/v1/responses`, 100 tools with large schemas", PARSED, responses),
    Kind("`/v1/responses`, 990 messages", PARSED, history),
    Kind("`previous_response_id` after these", PARSED, continued),
    Kind("`/ui/chat`, one message of many parts", PARSED, ui),
    Kind("`/agui`, 990 messages", PARSED, agui),
    Kind("an answer that fills its log, stopped: it is counted", PIECES, aborted),
    Kind("1 MiB of dashes in one event, stopped: it is counted", PIECES, dashes),
    Kind("an answer that fills its log, by `/v1/responses`", "64 KiB are read at a time", kept_whole),
    Kind("the same, read again from its start", SLICES, again),
    Kind("by 100 readers at once", SLICES, again_by_all),
    Kind("its snapshot", MERGED, snapshot),
    Kind("the same answer, in one JSON", MERGED, whole_as_json),
    Kind("retrieved by `/v1/responses`", MERGED, retrieved),
    Kind("retrieved as a stream", SLICES, retrieved_as_stream),
    Kind("an event of 1 MiB from the upstream", "4 MiB for an event; JSON is parsed in C", asked("line")),
    Kind("an error of 100 MB from the upstream", "256 KiB are read", asked("broken"), (502, 503)),
    Kind("a tool that is called with 200 kB and returns them", MERGED, asked("caller")),
    Kind("structured output of 1 MB", "the JSON so far is parsed when the text has grown by an eighth", structured),
    Kind("the usage page, 1,000,000 rows", DAYS, usage("usage?since=1y")),
    Kind("the same again, of one model", DAYS, usage("usage?since=1y&model=openai/gpt-4o")),
    Kind("`/usage.json`", DAYS, usage("usage.json?since=1y")),
    Kind("`/openapi.json`", "made once, and kept", lambda client: client.get("/llm/openapi.json")),
    Kind("`/usage.csv`", "50 rows are written, then others run", usage("usage.csv?since=60d")),
]
