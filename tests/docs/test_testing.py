"""The page on tests: its test file passes, as its transcript says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from flask import Flask

from llm_stream import testing
from llm_stream.testing import Script
from llm_stream.testing import Upstream
from llm_stream.testing import read_events

from ..conftest import ROOT
from ..pages import page

PAGE = "docs/guides/testing.md"
RUNS = {PAGE: ["python", "console"]}


def test_the_test_file_of_the_page_passes_and_leaves_no_connection_open(tmp_path: Path) -> None:
    page(PAGE).write(tmp_path)
    command = [sys.executable, "-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": "", "COLUMNS": "80"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert without_times(page(PAGE).block("console")) == without_times(f"$ python -m pytest -q\n{done.stdout}")


def test_every_option_of_an_answer_is_in_the_table() -> None:
    named = set(
        re.findall(r"`(\w+)`", " ".join(re.findall(r"^\| (`\w+`(?:, `\w+`)?) \|", page(PAGE).text, re.MULTILINE)))
    )
    assert named == {field.name for field in fields(Script)} - {"steps"}


ROWS = re.findall(r"^\| .* \| `upstream\.answer\((.*)\)` \| `(\w+)` \|$", page(PAGE).text, re.MULTILINE)


@pytest.mark.parametrize(("script", "ending"), ROWS)
def test_upstream_that_misbehaves_ends_the_stream_as_the_table_says(
    script: str, ending: str, upstream: Upstream, make_app: Callable[..., Flask]
) -> None:
    eval(f"upstream.answer({script})", vars(testing) | {"upstream": upstream})
    client = make_app(retries=0).test_client()
    events = read_events(client.get("/llm/chat?prompt=hi").data)
    failures = [data["code"] for _, kind, data in events if kind == "failure"]
    assert (failures or [events[-1][2]["status"]]) == [ending]


def without_times(text: str) -> str:
    return re.sub(r"in [\d.]+s", "in …", text)
