"""Partial JSON in the clients of both protocols for pages, where a transform of the app's sends it."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest

from llm_stream import Delta
from llm_stream import Event
from llm_stream import Partial
from llm_stream.testing import Upstream

from ..here import Here
from ..node import SCRIPTS
from ..node import Node
from ..node import node_folder
from .agents import Agent
from .agents import of_type
from .test_ai_sdk import AI_SDKS
from .test_ai_sdk import Chat

Open = Callable[..., Agent]

PARTIALS: list[Any] = [{}, {"city": "Pu"}, {"city": "Pune"}]


@pytest.fixture
def server(upstream: Upstream) -> Iterator[Here]:
    here = Here(upstream)

    @here.llm.transform
    def with_partials(events: Iterator[Event]) -> Iterator[Event]:
        for event in events:
            yield event
            if isinstance(event, Delta):
                yield from (Partial(value) for value in PARTIALS)
                yield Partial(PARTIALS[-1], whole=True)

    yield here
    here.close()


@pytest.mark.parametrize("sdk", AI_SDKS)
def test_use_chat_gets_transient_data_and_the_text_stays_one_part(server: Here, upstream: Upstream, sdk: str) -> None:
    node = Node(node_folder(sdk, AI_SDKS[sdk]), SCRIPTS / "ai_sdk.mjs")
    try:
        upstream.answer('{"city":', ' "Pune"}')
        shown = Chat(node, server).ask()  # type: ignore[arg-type]
    finally:
        node.close()
    once = [{"type": "data-partial", "transient": True, "data": value} for value in (*PARTIALS, PARTIALS[-1])]
    assert shown["data"] == once * 2
    assert [part["type"] for part in shown["messages"][-1]["parts"]] == ["step-start", "text"]
    assert (shown["status"], shown["text"]) == ("ready", '{"city": "Pune"}')


def test_agent_gets_custom_events_and_its_state_stays(server: Here, ag_ui: Node, upstream: Upstream) -> None:
    agent = Agent(ag_ui, server)  # type: ignore[arg-type]
    upstream.answer('{"city": "Pune"}')
    customs = of_type(agent.ask(), "CUSTOM")
    assert [(event["name"], event["value"]) for event in customs] == [
        ("partial", value) for value in (*PARTIALS, PARTIALS[-1])
    ]
