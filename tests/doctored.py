"""Asks `flask llm doctor` for its opinion of an app of this process, or of the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from flask import Flask

from .conftest import ROOT

HOOKS = (ROOT / "gunicorn.conf.py").read_text()
"""The project's own configuration, with which nothing is wrong."""

CERTAIN = ("OPENAI_", "LLM_STREAM_", "FLASK_", "GUNICORN_", "WEB_CONCURRENCY")


def config(folder: Path, *lines: str, start: str = HOOKS) -> str:
    """A configuration of gunicorn: the project's own, and then these lines."""
    path = folder / "gunicorn_of_test.py"
    path.write_text("\n".join((start, *lines, "")))
    return str(path)


def opinion(app: Flask, *options: str, status: int | None = None) -> dict[str, dict[str, str]]:
    """What each check says, by its name. `status` is the expected exit status."""
    result = app.test_cli_runner().invoke(args=["llm", "doctor", "--json", *options])
    assert result.stdout, f"{result.exception!r}: {result.stderr}"
    assert status in (None, result.exit_code), result.output
    return {said["check"]: said for said in json.loads(result.stdout)}


def demo(*options: str, app: str = "wsgi", **environment: str) -> subprocess.CompletedProcess[str]:
    """`flask --app wsgi llm doctor`, in a terminal."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(CERTAIN)}
    own |= {"PYTHONUTF8": "1", "LLM_STREAM_LEDGER_URL": "null", **environment}
    return subprocess.run(
        [str(Path(sys.executable).parent / "flask"), "--app", app, "llm", "doctor", *options],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
    )


def findings_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    return {said["check"]: said for said in json.loads(done.stdout)}
