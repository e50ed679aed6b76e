"""The page on the command line: its tables are those of the commands, and its transcripts are what they print."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import click
import pytest

from llm_stream.testing import Stall
from llm_stream.testing import Upstream

from ..conftest import ROOT
from ..here import sharing
from ..pages import page

PAGE = "docs/reference/cli.md"
RUNS = {PAGE: ["python", "console"]}
ID = "8a8b35a6a342e491b341"
FIGURES = {"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18}
EXPORT = "request_id,date,input_tokens,output_tokens,cost\nreq-1,2026-11-20,12,6,0.0000054\n"


def test_every_command_has_its_options_and_their_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("OPENAI_", "LLM_STREAM_"))]:
        monkeypatch.delenv(name)
    with page(PAGE).imported(tmp_path) as module:
        commands: Mapping[str, click.Command] = module.llm.cli.commands
        sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page(PAGE).text, re.MULTILINE | re.DOTALL))
        assert sections.keys() == commands.keys()
        for name, command in commands.items():
            rows = re.findall(r"^\| `(-*[\w-]+)` \| (.*?) \|", sections[name], re.MULTILINE)
            known = {
                parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.human_readable_name: parameter
                for parameter in command.params
            }
            told = dict(rows)
            for option, parameter in known.items():
                if isinstance(parameter, click.Option) and parameter.show_default:
                    assert told[option] == f"`{parameter.default}`"
                if isinstance(parameter, click.Argument):
                    assert told[option] == "required"
            assert told.keys() == known.keys()


def test_transcripts_are_what_the_commands_print(tmp_path: Path, upstream: Upstream) -> None:
    page(PAGE).write(tmp_path)
    (tmp_path / "export.csv").write_text(EXPORT)
    upstream.answer("A JWT ", "is a signed ", "token.", usage=FIGURES)
    with sharing("Valkey 9", models=["gpt-4o-mini"], disconnect_grace_s=60) as pair:
        settings = {
            "OPENAI_BASE_URL": upstream.base_url,
            "OPENAI_API_KEY": "none",
            "LLM_STREAM_LEDGER_URL": f"sqlite:///{tmp_path}/usage.db",
        }
        stream_id = ""
        for transcript in (block.text for block in page(PAGE).blocks if block.language == "console"):
            command, _, shown = transcript.partition("\n")
            if "llm streams" in command:
                pair.upstream.answer("Hello", Stall())
                stream_id = pair.a.post("/llm/streams", prompt="hi", model="gpt-4o-mini").json()["id"]
                settings["LLM_STREAM_LOG_URL"] = pair.a.app.config["LLM_STREAM_LOG_URL"]
            printed = run(tmp_path, command.removeprefix("$ ").replace(ID, stream_id or ID), settings)
            assert without_what_varies(printed.stdout) == without_what_varies(shown), printed.stderr


def run(folder: Path, command: str, settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "LLM_STREAM_"))}
    program, *arguments = shlex.split(command)
    return subprocess.run(
        [str(Path(sys.executable).parent / program), *arguments],
        cwd=folder,
        env=kept | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"} | settings,
        capture_output=True,
        text=True,
        timeout=60,
    )


def without_what_varies(text: str) -> str:
    """Without times, days other than the export's, the ids of streams and of workers, and the width of columns."""
    text = re.sub(r"\d{4}-\d\d-\d\d to \d{4}-\d\d-\d\d", "a week", text)
    text = re.sub(r"\b[\d.,]+ (ms|s)\b", "some time", text)
    text = re.sub(r"^[0-9a-f]{20}( .*some time +)\S+", r"id\1worker", text, flags=re.MULTILINE)
    return re.sub(" +", " ", text).strip()
