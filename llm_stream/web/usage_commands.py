"""`flask llm usage` and `flask llm reconcile`: print the ledger's reports in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any
from typing import TextIO

import click
import msgspec

from ..errors import LedgerUnavailable
from ..errors import NoLedger
from ..reports import filters as usage_filters
from ..reports import receipts
from ..reports.filters import DEFAULT_SINCE
from ..reports.filters import DIMENSIONS
from ..reports.filters import Dimension
from ..reports.filters import FilterError
from ..reports.filters import Filters
from ..reports.receipts import ReceiptError
from ..usage.record import utc_now
from .service import Service

if TYPE_CHECKING:
    from ..ledger.ledger import Ledger
    from ..reports.reconcile import Comparison
    from ..reports.report import Figures
    from ..reports.report import Report

CLOSE_S = 5.0


def add_to(llm: Service) -> None:

    @llm.cli.command("usage")
    @click.option(
        "--since", default=DEFAULT_SINCE, show_default=True, help="The first day, or a time ago: 7d, 4w, 3m, 1y."
    )
    @click.option("--until", help="The last day. Default: today.")
    @click.option("--by", type=click.Choice(DIMENSIONS), default="day", show_default=True, help="What to group by.")
    @click.option("--model", multiple=True, help="Only this model; may be repeated.")
    @click.option("--owner", multiple=True, help="Only this owner; may be repeated.")
    @click.option("--status", multiple=True, help="Only streams with this status; may be repeated.")
    @click.option("--json", "form", flag_value="json", help="Print the JSON of /usage.json.")
    @click.option("--csv", "form", flag_value="csv", help="Print the CSV of /usage.csv: one line per stream.")
    def usage(by: Dimension, form: str | None, **options: Any) -> None:
        """Print tokens and costs from the ledger (LLM_STREAM_LEDGER_URL)."""
        values = {name: value if isinstance(value, tuple) else (value,) for name, value in options.items() if value}
        try:
            filters = Filters.read(lambda name: values.get(name, ()), utc_now().date())
            by = usage_filters.dimension(by)
        except FilterError as error:
            raise click.UsageError(str(error)) from error
        with _ledger_of(llm) as ledger:
            _print_usage(ledger, filters, by, form)

    @llm.cli.command("reconcile")
    @click.argument("file", type=click.File(encoding="utf-8-sig"))
    @click.option(
        "--currency", default="USD", show_default=True, help="The currency of the costs, if the file does not name it."
    )
    @click.pass_context
    def reconcile(context: click.Context, file: TextIO, currency: str) -> None:
        """Compare the ledger with a provider's usage export, by request id and day.

        FILE is an export of OpenAI or OpenRouter, or any CSV with these columns: request_id or a date, and
        input_tokens, output_tokens or cost. The exit status is 1 if anything differs.
        """
        try:
            rows, columns = receipts.read(file, currency)
        except (ReceiptError, UnicodeDecodeError) as error:
            raise click.UsageError(str(error)) from error
        if not rows:
            raise click.UsageError("The file has no rows to compare.")
        with _ledger_of(llm) as ledger:
            from ..reports.reconcile import compare

            comparison = compare(ledger, rows)
        click.echo("Compared: " + ", ".join(f"{name} ({column})" for name, column in columns.items()))
        _print_comparison(comparison)
        context.exit(0 if comparison.is_equal else 1)


@contextmanager
def _ledger_of(llm: Service) -> Iterator[Ledger]:
    ledger = llm.state.ledger
    if ledger is None:
        raise click.UsageError(NoLedger.message)
    try:
        yield ledger
    except LedgerUnavailable as error:
        raise click.ClickException(
            f"The ledger cannot be read ({error.__cause__}). Check LLM_STREAM_LEDGER_URL."
        ) from error
    finally:
        ledger.close(CLOSE_S)


def _print_usage(ledger: Ledger, filters: Filters, by: Dimension, form: str | None) -> None:
    if form == "csv":
        from ..reports.export import csv_of

        for lines in csv_of(ledger, filters):
            sys.stdout.buffer.write(lines)
        return
    from ..reports.report import as_plain
    from ..reports.report import report

    usage = report(ledger, filters, by)
    if form == "json":
        click.echo(msgspec.json.format(msgspec.json.encode(as_plain(usage, by))).decode())
    else:
        _print_report(usage, by)


def _print_report(report: Report, by: Dimension) -> None:
    from ..reports.page import count
    from ..reports.page import money
    from ..reports.page import percent
    from ..reports.page import seconds
    from ..reports.report import percentile
    from ..reports.report import unread_share

    def line(name: str, figures: Figures) -> list[str]:
        spend = [money(amount, currency) for currency, amount in sorted(figures.spend.items())]
        if figures.unpriced:
            spend.append(f"{figures.unpriced} unknown")
        unread = [percent(unread_share(figures, currency)) for currency in sorted(figures.spend)]
        cells = [name, str(figures.streams), " + ".join(spend) or "–", " + ".join(unread) or "–"]
        for tokens in (figures.input_tokens, figures.output_tokens):
            cells.append("–" if not tokens and figures.uncounted else count(tokens))
        if by != "owner":
            cells += [seconds(percentile(figures.ttft, share)) for share in (0.5, 0.95)]
            cells += [seconds(percentile(figures.duration, share)) for share in (0.5, 0.95)]
        return cells

    head = [by, "streams", "spend", "not read", "tokens in", "tokens out"]
    head += [] if by == "owner" else ["first p50", "p95", "time p50", "p95"]
    lines = [line(_printable(name), figures) for name, figures in report.groups[by].items()]
    _print_table(head, [*lines, line("all", report.totals)])
    click.echo(f"\n{report.filters.since} to {report.filters.until}, UTC")
    for what, number in (("cost", report.totals.unpriced), ("number of tokens", report.totals.uncounted)):
        if number:
            click.echo(
                f"The {what} of {number} stream{'s' if number > 1 else ''} is unknown and not included in the sums."
            )


def _print_comparison(comparison: Comparison) -> None:
    for difference in comparison.differences:
        parts = (difference.day, difference.kind, _printable(difference.request_id), _printable(difference.what))
        click.echo("  ".join(parts).rstrip())
    if comparison.differences:
        click.echo()
    names = [name for name in ("requests", "input_tokens", "output_tokens") if name in comparison.said]

    def cells(day: str) -> list[str]:
        here, there = comparison.days[day]
        pairs = [_pair(str(getattr(here, name)), str(getattr(there, name))) for name in names]
        if "cost" in comparison.said:
            pairs.append(_pair(_amounts(here.cost), _amounts(there.cost)))
        return [day or "no day", *pairs, "differs" if any(comparison.differing(here, there)) else ""]

    head = ["day", *(name.replace("_", " ") for name in names), *(["cost"] if "cost" in comparison.said else []), ""]
    _print_table(head, [cells(day) for day in sorted(comparison.days)])
    click.echo()
    if comparison.without_id:
        click.echo(f"{comparison.without_id} streams have no request id, so they count only in the totals.")
    kinds = [difference.kind for difference in comparison.differences]
    counts = [f"{kinds.count('differs')} differ", f"{kinds.count('missing here')} missing here"]
    counts += [f"{kinds.count('missing there')} missing there", f"{len(comparison.differing_days())} days differ"]
    click.echo(
        f"{comparison.matched} requests found on both sides; {', '.join(counts)}."
        if "requests" in comparison.said
        else f"{counts[-1]}."
    )


def _pair(here: str, there: str) -> str:
    return here if here == there else f"{here} here, {there} there"


def _amounts(costs: dict[str, Any]) -> str:
    from ..usage.record import money

    return " + ".join(money(amount, currency) for currency, amount in sorted(costs.items())) or "nothing"


def _printable(text: str) -> str:
    """Replace control characters: names of owners and models are untrusted, and a terminal would execute them."""
    return "".join(character if character.isprintable() else "�" for character in text)


def _print_table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(head, *lines, strict=True)]
    align: list[Callable[..., str]] = [str.ljust, *([str.rjust] * (len(head) - 1))]
    for line in (head, *lines):
        cells = (justify(cell, width) for justify, cell, width in zip(align, line, widths, strict=True))
        click.echo("  ".join(cells).rstrip())
