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
    @click.option("--gunicorn-config", metavar="FILE", help="Default: what gunicorn itself would read here.")
    @click.option("--offline", is_flag=True, help="Ask nothing over the network: no upstream, no database, no Redis.")
    @click.option("--json", "as_json", is_flag=True, help="For programs.")
    @click.pass_context
    def doctor(context: click.Context, gunicorn_config: str | None, offline: bool, as_json: bool) -> None:
        """Look for what would harm streams in this deployment, and say what to do.

        Spends nothing and writes no record. The exit status is 1 if there are errors; warnings and notes do not
        change it. gunicorn's settings are read from its file, from GUNICORN_CMD_ARGS and from WEB_CONCURRENCY, because
        options of its command line are not known here.
        """
        patient = Patient(llm, llm.state, partial(_read, gunicorn_config), is_worker=False)
        results = []
        with _silent():  # the findings say it
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
    """Wrapped to the terminal, below the first line. A program gets it in one line."""
    if not sys.stdout.isatty():
        return text
    width = max(40, shutil.get_terminal_size().columns - len(INDENT))
    return f"\n{INDENT}".join(textwrap.wrap(text, width, break_on_hyphens=False, break_long_words=False))


def _summary(results: Iterable[Result]) -> str:
    counts = Counter(result.status for result in results)
    told = [f"{counts[one]} {one if counts[one] == 1 else many}" for one, many in COUNTED if counts[one]]
    if not counts["error"] and not counts["warning"]:
        return click.style(", ".join(["All is well", *told]) + ".", fg="green")
    return click.style(", ".join(told) + ".", fg=COLOURS["error" if counts["error"] else "warning"])


def _as_json(result: Result) -> dict[str, Any]:
    known = {"check": result.check.name, "status": result.status}
    if result.finding:
        known |= {name: text for name, text in asdict(result.finding).items() if name != "level"}
    return known | ({"reason": result.reason} if result.reason else {})
