"""Settings: where they come from, and what is said about a wrong one."""

from __future__ import annotations

import re
from dataclasses import fields
from decimal import Decimal
from typing import Any

import pytest
from flask import Flask

from llm_stream import ConfigError
from llm_stream import LLMStream
from llm_stream.settings import Settings

from .conftest import ROOT


def read(**config: Any) -> Settings:
    return Settings.from_config({f"LLM_STREAM_{name.upper()}": value for name, value in config.items()})


def test_defaults_are_those_of_the_documentation() -> None:
    page = (ROOT / "docs/reference/settings.md").read_text()
    table = dict(re.findall(r"^\| `LLM_STREAM_([A-Z_]+)` \| `([^`]*)` \|", page, re.MULTILINE))
    assert {name.lower() for name in table} == {field.name for field in fields(Settings)}
    for field in fields(Settings):
        shown = table[field.name.upper()]
        default = getattr(Settings(), field.name)
        assert shown == str(list(default) if isinstance(default, tuple) else default).replace("'", '"'), field.name


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("heartbeet_s", 1, "Did you mean LLM_STREAM_HEARTBEAT_S?"),
        ("idle", 1, "Did you mean LLM_STREAM_IDLE_S?"),
        ("nonsense_xyz", 1, "There is no setting LLM_STREAM_NONSENSE_XYZ."),
        ("idle_s", "soon", "LLM_STREAM_IDLE_S is wrong"),
        ("idle_s", 0, "LLM_STREAM_IDLE_S is wrong"),
        ("heartbeat_s", -1, "LLM_STREAM_HEARTBEAT_S is wrong"),
        ("max_streams", 1.5, "LLM_STREAM_MAX_STREAMS is wrong"),
        ("models", "gpt", "LLM_STREAM_MODELS is wrong"),
        ("on_disconnect", "drain", "LLM_STREAM_ON_DISCONNECT is wrong"),
        ("public", "perhaps", "LLM_STREAM_PUBLIC is wrong"),
        ("prices", {"m": {"input": "x", "output": "1"}}, "LLM_STREAM_PRICES[...].input is wrong"),
        ("prices", {"m": {"input": "1"}}, "LLM_STREAM_PRICES[...] is wrong"),
        ("log_url", "carrier://pigeon", "LLM_STREAM_LOG_URL"),
    ],
)
def test_wrong_value_is_named(name: str, value: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(says)):
        read(**{name: value})


@pytest.mark.parametrize(
    ("word", "meant"), [("true", True), ("True", True), ("1", True), ("yes", True), ("off", False)]
)
def test_booleans_are_written_in_many_ways(word: str, meant: bool) -> None:
    assert read(public=word).public is meant


def test_prices_are_exact() -> None:
    price = read(prices={"m": {"input": "0.1", "output": 58, "currency": "INR"}}).prices["m"]
    assert (price.input, price.output, price.cached, price.currency) == (Decimal("0.1"), Decimal(58), None, "INR")


def test_environment_is_the_default_and_the_app_has_the_last_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_STREAM_PUBLIC", "true")
    monkeypatch.setenv("LLM_STREAM_MODELS", '["a", "b"]')
    monkeypatch.setenv("LLM_STREAM_IDLE_S", "7")
    monkeypatch.setenv("LLM_STREAM_PRICES", '{"openai/gpt-4o-mini": {"input": "14", "output": "58"}}')
    app = Flask(__name__)
    app.config["LLM_STREAM_IDLE_S"] = 9
    llm = LLMStream("llm", __name__, model="m")
    app.register_blueprint(llm)
    with app.app_context():
        settings = llm.state.settings
    assert (settings.public, settings.models, settings.idle_s) == (True, ("a", "b"), 9)
    assert settings.prices["openai/gpt-4o-mini"].output == 58


def test_mistyped_environment_variable_fails_at_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLM_STREAM_RETENTION", "7")
    with pytest.raises(ConfigError, match="LLM_STREAM_RETENTION_S"):
        Flask(__name__).register_blueprint(LLMStream("llm", __name__, model="m"))
