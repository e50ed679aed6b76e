"""The guide on upstreams with the Responses API: its app and its settings call that API."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from llm_stream.settings import Settings
from llm_stream.testing import Upstream

from ..pages import page

PAGE = "docs/guides/responses_upstream.md"
RUNS = {PAGE: ["python", "bash"]}


def test_app_of_the_page_calls_the_responses_api_with_its_tool(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", upstream.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    upstream.answer("Hello")
    with page(PAGE).imported(tmp_path) as module:
        assert '"text":"Hello"' in module.app.test_client().get("/news").text
        module.llm.close()
    (asked,) = upstream.requests
    assert asked.path == "/v1/responses"
    assert (asked.json["store"], asked.json["tools"]) == (False, [{"type": "web_search"}])


def test_settings_of_the_page_choose_the_api_of_a_model() -> None:
    for_all, for_one = (word.partition("=")[2] for word in shlex.split(page(PAGE).block("bash"), comments=True)[1::2])
    assert Settings.from_config({"LLM_STREAM_API": for_all}).api_of("any") == "responses"
    settings = Settings.from_config({"LLM_STREAM_API": json.loads(for_one)})
    assert [settings.api_of(model) for model in ("gpt-5", "gpt-4o")] == ["responses", "chat"]
    assert settings.api_of("gpt-4o", "responses") == "responses"
