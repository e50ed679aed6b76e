"""Agents of AG-UI's own client, and the requests that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx2

from llm_stream.testing import Upstream

from ..conftest import PATIENCE_S
from ..conftest import Server
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder


def ag_ui_node() -> Node:
    return Node(node_folder("ag-ui", ["@ag-ui/client@1.0.0"]), SCRIPTS / "ag_ui.mjs")


class Agent:
    """One agent, that is one thread, in the Node process."""

    def __init__(self, node: Node, server: Server, id: str | None = None, **options: Any) -> None:
        self.id = id or str(uuid4())
        self.url = f"{server.url}/llm/agui"
        self._node = node
        self("open", url=self.url, **options)

    def __call__(self, command: str, **options: Any) -> Any:
        return self._node(command, id=self.id, **options)

    def ask(self, text: str = "hi", **options: Any) -> dict[str, Any]:
        """Run, and wait for the end."""
        self("start", text=text, **options)
        return self.ended()

    def ended(self) -> dict[str, Any]:
        shown: dict[str, Any] = self("ended")
        return shown


Open = Callable[..., Agent]


def types_of(shown: dict[str, Any]) -> list[str]:
    return [event["type"] for event in shown["events"]]


def run(server: Server, *messages: Any, **more: Any) -> httpx2.Response:
    body = {"threadId": str(uuid4()), "runId": "run-1", "messages": messages, "tools": [], "context": [], "state": {}}
    return httpx2.post(f"{server.url}/llm/agui", json=body | more, timeout=PATIENCE_S)


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"id": str(uuid4()), "role": role, "content": content} | more


def of_type(shown: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [event for event in shown["events"] if event["type"] == kind]


def asked_for(upstream: Upstream, number: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = upstream.requests[number].json["messages"]
    return messages
