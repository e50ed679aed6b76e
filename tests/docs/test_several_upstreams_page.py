"""docs/guides/several_upstreams.md: the page's table, with a scripted server in the place of each provider."""

from __future__ import annotations

from pathlib import Path

import pytest

from llm_stream import settings
from llm_stream.testing import Upstream
from llm_stream.upstream.allowance import SHARE
from llm_stream.upstream.breaker import FAILURES
from llm_stream.upstream.breaker import FIRST_COOL_DOWN_S
from llm_stream.upstream.breaker import LONGEST_COOL_DOWN_S
from llm_stream.upstream.completion import LONGEST_RETRY_AFTER_S

from ..pages import page

RUNS = {"docs/guides/several_upstreams.md": ["python"]}


def test_second_upstream_answers_when_the_first_refuses_its_key(
    upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    monkeypatch.setenv("OPENROUTER_API_KEY", "two")
    shown = page("docs/guides/several_upstreams.md")
    shown.write(tmp_path)
    app = (tmp_path / "app.py").read_text()
    for address in ("https://api.openai.com/v1", "https://openrouter.ai/api/v1"):
        app = app.replace(address, upstream.base_url)
    upstream.answer(status=401)
    upstream.answer("Hello")
    names = {"__name__": "app"}
    exec(compile(app, "app.py", "exec", dont_inherit=True), names)
    flask_app, llm = names["app"], names["llm"]
    assert '"text":"Hello"' in flask_app.test_client().get("/llm/chat?prompt=hi").text  # type: ignore[attr-defined]
    llm.close()  # type: ignore[attr-defined]
    assert [asked.json["model"] for asked in upstream.requests] == ["gpt-4o-mini", "openai/gpt-4o-mini"]


def test_every_field_of_an_upstream_and_the_figures_are_those_of_the_code() -> None:
    text = page("docs/guides/several_upstreams.md").text
    table = text.partition("| field | meaning |")[2].partition("\n\n")[0]
    assert all(f"`{name}`" in table for name in settings.Upstream.__struct_fields__)
    assert (FAILURES, FIRST_COOL_DOWN_S, LONGEST_COOL_DOWN_S, LONGEST_RETRY_AFTER_S, SHARE) == (3, 5, 120, 4, 0.05)
