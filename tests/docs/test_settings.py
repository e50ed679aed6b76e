"""The page on settings: its two forms mean the same, and its app takes them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from flask import Flask

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream.settings import PREFIX
from llm_stream.settings import Settings

from ..pages import page

PAGE = "docs/reference/settings.md"
RUNS = {PAGE: ["python", "bash"]}


def settings_of(app: Flask) -> Settings:
    (state,) = app.extensions["llm_stream"].values()
    assert isinstance(state.settings, Settings)
    return state.settings


def test_environment_of_the_page_sets_what_its_app_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with page(PAGE).imported(tmp_path) as module:
        by_config = settings_of(module.app)
        assert (by_config.public, by_config.models, by_config.idle_s) == (True, ("gpt-4o", "gpt-4o-mini"), 30)
    for word in shlex.split(page(PAGE).block("bash").replace("export", "")):
        monkeypatch.setenv(*word.split("=", 1))
    app = Flask(__name__)
    app.register_blueprint(LLMStream("llm", __name__, model="gpt-4o-mini"))
    assert settings_of(app) == by_config


def test_config_goes_before_the_environment_and_an_empty_value_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_STREAM_PUBLIC", "1")
    monkeypatch.setenv("LLM_STREAM_IDLE_S", "5")
    monkeypatch.setenv("LLM_STREAM_TOTAL_S", "")
    app = Flask(__name__)
    app.config["LLM_STREAM_IDLE_S"] = 7
    app.register_blueprint(LLMStream("llm", __name__, model="gpt-4o-mini"))
    assert (settings_of(app).idle_s, settings_of(app).total_s) == (7, Settings().total_s)


def test_wrong_name_or_value_raises_an_error_that_names_it() -> None:
    for name, value in {"IDLE": 1, "IDLE_S": 0, "MODELS": "gpt-4o"}.items():
        with pytest.raises(ConfigError, match=f"{PREFIX}{name}"):
            Settings.from_config({PREFIX + name: value})


@pytest.mark.parametrize(("column", "meant"), [(0, True), (1, False)])
def test_words_for_yes_and_no_are_taken(column: int, meant: bool) -> None:
    (row,) = re.findall(r"^\| yes or no \| .* \| (.*) \|$", page(PAGE).text, re.MULTILINE)
    for word in re.findall(r"`(\w+)`", row.split(";")[column]):
        assert Settings.from_config({f"{PREFIX}PUBLIC": word}).public is meant
