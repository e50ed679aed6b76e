"""The README runs as it is written."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from .conftest import ROOT
from .conftest import Server

README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def block(language: str, holding: str) -> str:
    """The one code block that holds these words."""
    (found,) = (text for name, text in BLOCKS if name == language and holding in text)
    return str(found)


def test_smallest_program_answers(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    program: dict[str, Any] = {"__name__": "smallest"}
    exec(block("python", "def owner"), program)
    upstream.answer("Hello")
    app: Flask = program["app"]
    assert b'"text":"Hello"' in app.test_client().get("/llm/chat?prompt=Hello").data
    program["llm"]._client.close()


def test_bytes_that_curl_shows_are_those_that_are_sent(upstream: Upstream, serve: Callable[..., Server]) -> None:
    shown = block("", "$ curl -N").partition("\n")[2]
    prices = {"openai/gpt-4o-mini": {"input": "14", "output": "58", "currency": "INR"}}
    server = serve(upstream, prices=prices)
    upstream.answer("Hello", usage={"prompt_tokens": 8, "completion_tokens": 1})
    sent = server.get("/llm/chat?prompt=Hello").text
    stream_id = read_events(sent.encode())[0][2]["id"]
    shown = shown.replace("8a8b35a6a342e491b341", stream_id)
    assert re.sub(r'"created":\d+', "", sent).strip() == re.sub(r'"created":\d+', "", shown).strip()
    line = block("", "status=completed").strip().replace("8a8b35a6a342e491b341", stream_id)
    logged = next(line for line in server.log.splitlines() if "status=completed" in line)
    assert re.sub(r"=\d+\.\d+s", "", logged).endswith(re.sub(r"=\d+\.\d+s", "", line))


def test_example_of_a_test_passes() -> None:
    program: dict[str, Any] = {"__name__": "example"}
    exec(block("python", "def test_"), program)
    program["test_answer_that_breaks_off"]()


def test_examples_are_python() -> None:
    for language, example in BLOCKS:
        if language == "python":
            compile(example, "README.md", "exec")


def test_every_cell_of_the_table_of_clients_is_a_test() -> None:
    (table,) = re.findall(r"^\| each tested as it is (.*?)\n\n", README, re.MULTILINE | re.DOTALL)
    head, _, *rows = table.splitlines()
    features = [name.strip() for name in head.split("|") if name.strip()]
    assert len(rows) == 17
    for row in rows:
        client, *cells = row.strip().strip("|").split("|")
        tests = "".join((ROOT / file).read_text() for file in re.findall(r"\((tests/[^)]*)\)", client))
        tested = [feature for feature in features if f"def test_{feature.replace(' ', '_')}_" in tests]
        ticked = [feature for feature, cell in zip(features, cells, strict=True) if "✓" in cell]
        assert ticked == tested, client
