"""`flask llm doctor`."""

from __future__ import annotations

import json
import logging
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any

import click

from ...server import gunicorn_config
from ..service import Service
from .checks import CHECKS
from .patient import Patient
from .result import Result
from .result import Status
from .result import result_of

COLOURS = {"ok": "green", "note": "cyan", "warning": "yellow", "error": "red", "not checked": None}
STATUS_WIDTH = max(map(len, COLOURS)) + 2
NAME_WIDTH = max(len(check.name) for check in CHECKS) + 2
INDENT = " " * (STATUS_WIDTH + NAME_WIDTH)
COUNTED: tuple[tuple[Status, str], ...] = (("error", "errors"), ("warning", "warnings"), ("note", "notes"))


def add_to(llm: Service) -> None:

    @llm.cli.command("doctor")
    @click.option(
        "--gunicorn-config", metavar="FILE", help="Default: the file that gunicorn would read in this folder."
    )
    @click.option("--offline", is_flag=True, help="Skip checks that connect to the upstream, the database or Redis.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @click.pass_context
    def doctor(context: click.Context, gunicorn_config: str | None, offline: bool, as_json: bool) -> None:
        """Check this deployment for problems that harm streams, and say how to fix them.

        The checks cost no tokens and write no usage record. The exit status is 1 if there are errors; warnings and
        notes do not change it. This command reads gunicorn's settings from its file, GUNICORN_CMD_ARGS and
        WEB_CONCURRENCY. It cannot see the options of gunicorn's command line.
        """
        patient = Patient(llm, llm.state, partial(_read, gunicorn_config), is_worker=False)
        results = []
        with _silent():  # the findings already say what the log would
            for check in CHECKS:
                results.append(result_of(check, patient, offline=offline))
                if not as_json:
                    _print(results[-1])
        if as_json:
            click.echo(json.dumps([_as_json(result) for result in results], indent=2, ensure_ascii=False))
        else:
            click.echo(f"\n{_summary(results)}")
        context.exit(int(any(result.status == "error" for result in results)))


@contextmanager
def _silent() -> Iterator[None]:
    logger = logging.getLogger("llm_stream")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(level)


def _read(path: str | None) -> gunicorn_config.GunicornConfig:
    return gunicorn_config.read(path)


def _print(result: Result) -> None:
    finding, check = result.finding, result.check
    click.secho(result.status.ljust(STATUS_WIDTH), fg=COLOURS[result.status], dim=bool(result.reason), nl=False)
    click.echo(check.name.ljust(NAME_WIDTH), nl=False)
    click.secho(_indented(finding.what if finding else result.reason or check.promise), dim=not finding)
    if finding:
        click.echo(INDENT + _indented(finding.causes))
        click.secho(INDENT + _indented(f"→ {finding.advice}"), bold=True)


def _indented(text: str) -> str:
    """Wrap `text` to the terminal's width and indent it. Without a terminal it stays one line, for programs."""
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns - len(INDENT))
    return f"\n{INDENT}".join(textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False))


def _summary(results: Iterable[Result]) -> str:
    counts = Counter(result.status for result in results)
    told = [f"{counts[one]} {one if counts[one] == 1 else many}" for one, many in COUNTED if counts[one]]
    if not counts["error"] and not counts["warning"]:
        told = ["No problem found", *told]
    if skipped := counts["not checked"]:
        told.append(f"{skipped} not checked")
    colour = "error" if counts["error"] else "warning" if counts["warning"] else "ok"
    return click.style(", ".join(told) + ".", fg=COLOURS[colour])


def _as_json(result: Result) -> dict[str, Any]:
    known = {"check": result.check.name, "status": result.status}
    if result.finding:
        known |= {name: text for name, text in asdict(result.finding).items() if name != "level"}
    return known | ({"reason": result.reason} if result.reason else {})
