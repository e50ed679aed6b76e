"""The pages on providers: their configuration is accepted, and each provider has answers that are tested."""

from __future__ import annotations

import re
import shlex

import pytest
from flask import Flask

from llm_stream import LLMStream

from .conftest import ROOT
from .test_providers import FORMS

PAGES = ROOT / "docs/guides/providers"
TABLE = re.findall(r"^\| \[[^]]+\]\((\w+)\.md\) \| (.*) \|$", (PAGES / "index.md").read_text(), re.MULTILINE)
ROWS = {name: [cell.strip().strip("`") for cell in cells.split(" | ")] for name, cells in TABLE}
OPENAI = "https://api.openai.com/v1/"


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def configuration_of(name: str) -> dict[str, str]:
    (block,) = re.findall(r"^```bash\n(.*?)^```$", page(name), re.MULTILINE | re.DOTALL)
    return dict(line.split("=", 1) for line in shlex.split(block))


def test_each_provider_has_a_row_and_a_page_and_answers() -> None:
    pages = {path.stem for path in PAGES.glob("*.md")} - {"index"}
    assert set(ROWS) == pages == set(FORMS)


@pytest.mark.parametrize("name", FORMS)
def test_configuration_is_accepted_as_it_is_written(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = configuration_of(name)
    for variable, value in configuration.items():
        monkeypatch.setenv(variable, value)
    monkeypatch.setenv("LLM_STREAM_PUBLIC", "1")
    llm, app = LLMStream("llm", __name__), Flask("configured")
    app.register_blueprint(llm, url_prefix="/llm")
    endpoint = llm._client.endpoint()
    llm.close()
    with app.app_context():
        model, prices = llm.state.model, llm.state.settings.prices
    assert model == configuration["LLM_STREAM_MODEL"]
    assert endpoint.base_url.rstrip("/") == configuration.get("OPENAI_BASE_URL", OPENAI).rstrip("/")
    assert list(prices) == ([model] if "LLM_STREAM_PRICES" in configuration else [])


@pytest.mark.parametrize("name", FORMS)
def test_row_and_page_say_the_same(name: str) -> None:
    base_url, _, model, *_ = ROWS[name]
    configuration = configuration_of(name)
    given = configuration.get("OPENAI_BASE_URL", "the SDK's default")
    hosts = {"<host>": "127.0.0.1", "<resource>": "your-resource"}
    for word, example in hosts.items():
        base_url = base_url.replace(word, example)
    assert base_url == given
    if "YOUR" not in configuration["LLM_STREAM_MODEL"] and "started" not in model:
        assert model == configuration["LLM_STREAM_MODEL"]


@pytest.mark.parametrize("name", FORMS)
def test_page_links_its_answers_and_the_provider(name: str) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page(name))
    assert f"../../../tests/providers/{name}.py" in links
    assert any(link.startswith("https://") for link in links)
    for link in links:
        assert link.startswith("https://") or (PAGES / link).exists(), link


def test_pages_are_short() -> None:
    assert all(len(path.read_text().splitlines()) <= 50 for path in PAGES.glob("*.md"))
