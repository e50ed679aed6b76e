"""The demo's answers if no model is configured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from .responses import as_chat
from .script import Pause
from .script import Script
from .script import Step

PACE_S = 0.03

STAND_IN = """You asked: “{question}”

No model is connected. A scripted server inside the demo sends this answer, one word at a time, over HTTP to the real \
OpenAI client. Everything else works as it does with a model.

Try to break it:

- Reload the page while this answer is being written: it continues where it was.
- Switch the network off and on, or duplicate the tab.
- Press **Stop**: the connection to the upstream closes at once, and the line below shows the tokens used so far.

| ask for | to see |
|---|---|
| “think” | reasoning, folded above the answer |
| “weather” | a tool that the server runs |
| “delete” | a tool that asks you first |

To use a real model, restart the server with a key:

```sh
export OPENAI_API_KEY=…
export OPENAI_BASE_URL=…  # if your provider is not OpenAI
```"""

REASONING = """The question is “{question}”. I am a script, so I cannot think about it. \
This text only shows where a model's reasoning would be."""

TOOLS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "weather": ("weather", "I will look up the weather.", {"city": "Zürich"}),
    "delete": ("delete_note", "I will delete the note.", {"note": 1}),
}
"""A word in the question → the tool to call if the request offers it, the text before the call, and the arguments."""

FROM_RESULT = """The tool `{name}` returned this:

```json
{result}
```

A model would now answer with this result. The stand-in only shows that it received it."""


def stand_in(request: Any) -> Script:
    request = as_chat(request)
    messages = request.get("messages") or [{}]
    if messages[-1].get("role") == "tool":
        return Script(tuple(spoken(_from_result(messages))))
    question = text_of(messages[-1].get("content"))
    if (call := _call_for(question, request.get("tools") or ())) is not None:
        name, announcement, arguments = call
        return Script((*spoken(announcement), *_called(name, arguments)), finish_reason="tool_calls")
    return Script((*_thoughts(question), *spoken(STAND_IN.format(question=question[:80]))))


def text_of(content: Any) -> str:
    """The text of a message on one line, with the type names of other parts."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = (str(part.get("text") or f"({part.get('type', 'nothing')})") for part in parts)
    return " ".join(" ".join(texts).split())


def _call_for(question: str, tools: Any) -> tuple[str, str, dict[str, Any]] | None:
    offered = {(tool.get("function") or {}).get("name") for tool in tools}
    called = (call for word, call in TOOLS.items() if word in question.lower() and call[0] in offered)
    return next(called, None)


def _from_result(messages: Any) -> str:
    calls: Any = next((message["tool_calls"] for message in reversed(messages) if message.get("tool_calls")), ())
    names = {call["id"]: call["function"]["name"] for call in calls}
    last = messages[-1]
    return FROM_RESULT.format(name=names.get(last.get("tool_call_id"), "?"), result=last.get("content"))


def spoken(text: str) -> Iterator[Step]:
    """The text as one step per word."""
    for word in text.replace(" ", " \0").split("\0"):
        yield word
        yield Pause(PACE_S)


def _thoughts(question: str) -> Iterator[Step]:
    if "think" not in question.lower():
        return
    for step in spoken(REASONING.format(question=question[:80])):
        yield _chunk(reasoning_content=step) if isinstance(step, str) else step


def _called(name: str, arguments: Mapping[str, Any]) -> Iterator[Step]:
    function = {"name": name, "arguments": ""}
    yield _chunk(tool_calls=[{"index": 0, "id": f"call_{name}", "type": "function", "function": function}])
    text = json.dumps(arguments, ensure_ascii=False)
    for at in range(0, len(text), 6):
        yield _chunk(tool_calls=[{"index": 0, "function": {"arguments": text[at : at + 6]}}])
        yield Pause(PACE_S)


def _chunk(**delta: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
