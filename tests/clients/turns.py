"""A model that answers, or calls a tool first, and what a client must have made of it."""

from __future__ import annotations

from typing import Any

from llm_stream.testing import Upstream

from ..calling import call
from ..calling import calling
from ..calling import fragment
from .scripts import reasoning

MODEL = "gpt-4o-mini"
SETTINGS = {"models": [MODEL], "retries": 0, "disconnect_grace_s": 0.5, "max_streams_per_owner": 100}
"""Some of the clients take a vendor's name off the model's, so this one has none."""


def usage(input: int, output: int, cached: int = 0, reasoning: int = 0) -> dict[str, Any]:
    return {
        "prompt_tokens": input,
        "completion_tokens": output,
        "total_tokens": input + output,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }


def says(upstream: Upstream, *pieces: str) -> None:
    upstream.answer(*pieces, usage=usage(100, 20, 40, 5))


def calls_and_says(upstream: Upstream) -> None:
    """Two calls of the model: 300 tokens in, 30 out."""
    calling(upstream, call("weather", id="call_1", city="Bonn"), usage=usage(100, 20, 40))
    upstream.answer("7 deg", "rees.", usage=usage(200, 10))


def reasons_and_calls(upstream: Upstream) -> None:
    """A model whose provider wants its reasoning back with the tool's result."""
    thinking = [reasoning("Hm, "), reasoning("well.")]
    made = call("weather", id="call_1", city="Bonn")
    upstream.answer(*thinking, fragment({"tool_calls": [made]}), finish_reason="tool_calls")
    upstream.answer("7 degrees.")


def reasoning_came_back(upstream: Upstream) -> None:
    sent_back(upstream)
    assert upstream.requests[1].json["messages"][-2]["reasoning_content"] == "Hm, well."


def sent_back(upstream: Upstream) -> None:
    """The model was asked twice, and the second time with its call and the result. Nothing was bought twice."""
    assert len(upstream.requests) == 2
    assert not upstream.waiting
    sent = upstream.requests[1].json["messages"]
    assert [message["role"] for message in sent if message["role"] not in ("system", "developer")] == [
        "user",
        "assistant",
        "tool",
    ]
    (made,) = sent[-2]["tool_calls"]
    assert (made["id"], made["function"]["name"]) == ("call_1", "weather")
    assert text_in(sent[-1]["content"]) == "7 degrees"
    assert sent[-1]["tool_call_id"] == "call_1"


def text_in(content: Any) -> str:
    """Of a message whose content is a string, or a list of parts."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def was_asked_once(upstream: Upstream) -> None:
    assert len(upstream.requests) == 1
    assert not upstream.waiting


def ran_here(upstream: Upstream) -> None:
    """The tool `search` of the server has run, and the model was given its result. The client has not run it."""
    assert len(upstream.requests) == 2
    assert [message["role"] for message in upstream.requests[1].json["messages"]][-2:] == ["assistant", "tool"]
