"""docs/explanation/cost.md: its figures are those of benchmarks/README.md, and its commands are there."""

from __future__ import annotations

import re

from llm_stream.core.retention import STREAM_BYTES
from llm_stream.settings import Settings

from ..conftest import ROOT
from ..pages import page

RUNS: dict[str, list[str]] = {}

COST = page("docs/explanation/cost.md")
MEASURED = page("benchmarks/README.md").text
NUMBER = r"(?<![\w.,])\d[\d,]*(?:\.\d+)?"


def test_every_measured_figure_is_in_the_benchmarks() -> None:
    rows = re.findall(r"^\|.*\|$", COST.text, re.MULTILINE)
    calculated = COST.text.partition("## A hundred thousand")[2]
    told = re.findall(NUMBER, re.sub(r"\(.*?\)|`.*?`", "", "\n".join([*rows, calculated])))
    told = [number.rstrip(",") for number in told]
    measured = set(re.findall(NUMBER, MEASURED)) | {"4"}
    assert STREAM_BYTES == 4 * 1024
    assert len(told) > 50
    assert not set(told) - measured


def test_limits_are_those_of_the_settings() -> None:
    settings = Settings()
    assert (settings.max_streams, settings.retention_s) == (1000, 600)
    assert (settings.max_retained_bytes, settings.max_stream_bytes) == (256 << 20, 4 << 20)


def test_commands_are_there() -> None:
    scripts = re.findall(r"python (benchmarks/\w+\.py)", COST.text)
    scripts += [name.replace(".", "/") + ".py" for name in re.findall(r"python -m (benchmarks\.\w+)", COST.text)]
    assert len(set(scripts)) == 6
    assert not [script for script in scripts if not (ROOT / script).exists()]
    assert "\nbench:" in (ROOT / "Makefile").read_text()
