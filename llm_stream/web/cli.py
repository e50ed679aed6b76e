"""`flask llm …`: the commands of an `LLMStream`."""

from __future__ import annotations

import logging
import signal

import click

from ..chat_request import ChatRequest
from ..core.followed import Followed
from ..events import Delta
from ..events import Event
from ..events import Failure
from ..events import Refusal
from ..events import Reset
from ..usage.record import UsageRecord
from ..usage.record import money
from . import stream_commands
from . import usage_commands
from .doctor import command
from .service import Service

EXIT_CODES = {"completed": 0, "incomplete": 0, "cancelled": 130}
SETTLE_S = 20.0
"""An estimate loads the tokenizer's vocabulary, which takes several seconds on a busy machine."""


def add_to(llm: Service) -> None:
    """Add the commands to the group `flask <blueprint's name>`."""
    usage_commands.add_to(llm)
    stream_commands.add_to(llm)
    command.add_to(llm)

    @llm.cli.command("ask")
    @click.argument("prompt")
    @click.option("--model", help="A model other than the app's default.")
    @click.option("--max-output-tokens", type=click.IntRange(min=1), help="Limit the length of the answer.")
    @click.pass_context
    def ask(context: click.Context, prompt: str, model: str | None, max_output_tokens: int | None) -> None:
        """Ask the model, and print its answer and the cost. Ctrl-C stops the answer."""
        logging.getLogger("llm_stream").setLevel(logging.WARNING)  # the command prints the usage itself
        state = llm.state
        chat_request = ChatRequest(
            messages=[{"role": "user", "content": prompt}],
            model=model or state.model,
            max_output_tokens=max_output_tokens or state.settings.max_output_tokens,
        )
        stream = llm.open("cli", chat_request)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            for _, batch in state.streams.follow(stream).batches():
                for event in batch:
                    _print(event)
        except KeyboardInterrupt:
            pass
        finally:  # also after a broken pipe: ask … | head
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            stream.stop("cancelled")
            stream.settled.wait(SETTLE_S)
        context.exit(_print_bill(stream))


def _print(event: Event) -> None:
    if isinstance(event, (Delta, Refusal)):
        click.echo(event.text, nl=False)
    elif isinstance(event, Reset):
        click.echo("\n\n[The answer starts again.]\n")
    elif isinstance(event, Failure):
        click.echo(f"\n{event.message} ({event.code}, error {event.error_id})", err=True)


def _print_bill(stream: Followed) -> int:
    record = stream.record
    if record is None:
        click.echo(f"\nThe stream did not end within {SETTLE_S:.0f} s, so its cost is unknown.", err=True)
        return 1
    click.echo(f"\n\n{_bill(record)}")
    return EXIT_CODES.get(record.status, 1)


def _bill(record: UsageRecord) -> str:
    note = {"provider": "", "partial": " so far", "estimated": " (estimated)"}.get(record.source, "")
    tokens_in, tokens_out = (
        "unknown" if count is None else str(count) for count in (record.input_tokens, record.output_tokens)
    )
    parts = [f"tokens in: {tokens_in}, tokens out: {tokens_out}{note}, cost: {money(record.cost, record.currency)}"]
    if record.ttft_s is not None:
        parts.append(f"first token after {record.ttft_s:.2f} s")
    return " · ".join([*parts, f"{record.duration_s:.2f} s", record.status])
