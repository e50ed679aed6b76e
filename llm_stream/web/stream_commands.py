"""`flask llm streams` and `flask llm stop`: list and stop the streams of all workers, from any machine."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from time import time

import click

from ..core.shared.log import Listed
from ..core.shared.log import SharedLog
from ..errors import LLMStreamError
from .service import Service

CLOSE_S = 2.0

HEADER = ("id", "owner", "model", "state", "age", "worker", "readers")


def add_to(llm: Service) -> None:

    @llm.cli.command("streams")
    @click.option("--all", "with_ended", is_flag=True, help="Include ended streams that are still stored.")
    def streams(with_ended: bool) -> None:
        """List the running streams of all workers."""
        with _log_of(llm) as log:
            listed = [stream for stream in log.listing() if with_ended or stream.state == "running"]
        _print_table([HEADER, *map(_row, listed)])

    @llm.cli.command("stop")
    @click.argument("stream_id")
    def stop(stream_id: str) -> None:
        """Stop a stream of any worker."""
        with _log_of(llm) as log:
            stream = log.find(None, stream_id)
            if stream.ending:
                raise click.ClickException(f"This stream has ended already: {stream.ending}.")
            stream.stop("cancelled")
        click.echo("stopped")


@contextmanager
def _log_of(llm: Service) -> Iterator[SharedLog]:
    log = llm.state.streams.shared
    if log is None:
        raise click.ClickException(
            "The streams are in the server's memory (LLM_STREAM_LOG_URL is memory://), which this command cannot read."
            " Set LLM_STREAM_LOG_URL=redis://… for the server and for this command."
        )
    try:
        yield log
    except LLMStreamError as error:
        raise click.ClickException(str(error)) from error
    finally:
        log.close(CLOSE_S)


def _row(listed: Listed) -> tuple[str, ...]:
    stream_id, header, state, readers = listed
    age = f"{max(0, round(time() - header.created))} s"
    return (stream_id, header.owner, header.model or "unknown", state, age, header.worker, str(readers))


def _print_table(rows: Iterable[Sequence[str]]) -> None:
    rows = [[_printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _printable(text: str) -> str:
    """Replace control characters: an owner may contain line ends and a terminal's control characters."""
    return "".join(character if character.isprintable() else "?" for character in text)
