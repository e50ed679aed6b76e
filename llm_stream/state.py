"""What one `LLMStream` has in one app: made when it is registered, found again in every request."""

from __future__ import annotations

import logging
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from typing import TextIO
from typing import cast

from flask import Blueprint
from flask import Config
from flask import Flask
from flask import current_app
from flask.logging import default_handler
from flask.logging import has_level_handler
from flask.logging import wsgi_errors_stream

from . import response
from . import signals
from .errors import ConfigError
from .errors import LLMStreamError
from .events import Usage
from .ledger import ledgers
from .log_lines import JSONLines
from .settings import PREFIX
from .settings import Settings
from .stream import Stream
from .stream import Verdict
from .streams import Streams
from .telemetry import Telemetry
from .upstream.client import know_the_platform
from .usage.account import account
from .usage.budget import BudgetOf
from .usage.budget import Budgets
from .usage.meter import Meter
from .usage.record import UsageRecord

if TYPE_CHECKING:
    from .ledger.ledger import Ledger

logger = logging.getLogger("llm_stream")

EXTENSION = "llm_stream"

Hook = Callable[[UsageRecord], object]


@dataclass(frozen=True)
class State:
    """Nothing of an app is kept on the `LLMStream` itself, so that it can be registered on several."""

    app: Flask
    settings: Settings
    model: str
    streams: Streams
    ledger: Ledger | None


def current(llm: Blueprint) -> State:
    """The state of an `LLMStream` in the current app."""
    try:
        state: State = current_app.extensions[EXTENSION][llm]
    except KeyError:
        raise RuntimeError(f"The LLMStream {llm.name!r} is not registered on this app.") from None
    return state


def install(
    app: Flask,
    llm: Blueprint,
    *,
    model: str | None,
    is_guarded: bool,
    hooks: Sequence[Hook],
    budget_of: BudgetOf | None,
) -> None:
    """Read the settings and make the state. Raises `ConfigError`."""
    states = app.extensions.setdefault(EXTENSION, {})
    if llm in states:
        return  # the same one, under a second prefix
    _take_defaults_from_environment(app)
    settings = Settings.from_config(app.config)
    if not is_guarded and not settings.public:
        raise ConfigError(
            f"Anybody could spend your money: decorate a function with @{llm.name}.authorize that returns who pays,"
            " or set LLM_STREAM_PUBLIC = True."
        )
    model = model or settings.model
    if model is None:
        raise ConfigError(f"Which model? LLMStream({llm.name!r}, …, model='…'), or LLM_STREAM_MODEL.")

    books = _Books(app, llm.name, settings, hooks, model, budget_of)
    states[llm] = State(app, settings, model, Streams(settings, books.open, books.settle), books.ledger)
    app.register_error_handler(LLMStreamError, response.error_response)
    _make_log_visible(settings.log_format)
    know_the_platform()


class _Books:
    """What is written down of a stream, before it starts and when it has ended."""

    def __init__(
        self,
        app: Flask,
        name: str,
        settings: Settings,
        hooks: Sequence[Hook],
        model: str,
        budget_of: BudgetOf | None,
    ) -> None:
        """Raises `ConfigError`."""
        self.ledger = ledgers.of(settings.ledger_url) if settings.ledger_url else None
        self._app = app
        self._name = name
        self._settings = settings
        self._hooks = hooks
        self._telemetry = Telemetry.where_installed(content=settings.telemetry_content)
        self._budgets = Budgets(settings, budget_of, model) if settings.budgets or budget_of else None
        if self.ledger is not None:
            self.ledger.on_swept(name, self._tell)
        elif self._budgets is not None:
            raise ConfigError(
                "A budget needs the ledger: set LLM_STREAM_LEDGER_URL, say to sqlite:////var/lib/app/usage.db"
            )

    def open(self, stream: Stream) -> None:
        """Raises `LedgerUnavailable` and `OverBudget`."""
        if self.ledger is None:
            return
        reservation = None
        if self._budgets and (budget := self._budgets.of(stream.owner)):
            reservation = self._budgets.reservation(stream.owner, budget, stream.source, stream.started)
            claim = partial(self.ledger.claim, stream.id, reservation)
            stream.meter = Meter(self._budgets, reservation, stream.source, claim)
        self.ledger.open(
            id=stream.id,
            llm=self._name,
            owner=stream.owner,
            model=stream.model,
            started=stream.started,
            reservation=reservation,
        )

    def settle(self, stream: Stream, verdict: Verdict) -> tuple[UsageRecord, Usage]:
        was_read = stream.is_read
        record, usage = account(stream, verdict, self._settings.prices)
        if self.ledger is not None:
            charge = stream.meter.charge(record) if stream.meter else None
            if not self.ledger.settle(record, was_read=was_read, charge=charge):
                return record, usage
        self._tell(record, stream)
        return record, usage

    def _tell(self, record: UsageRecord, stream: Stream | None = None) -> None:
        """`stream` is None where another worker's was swept."""
        if self._telemetry is not None:
            self._telemetry.observe(record, stream)
        _tell(self._app, record, self._hooks)


def log_usage(record: UsageRecord) -> None:
    """The default hook: one line per stream."""
    logger.info("%s", record)


def _tell(app: Flask, record: UsageRecord, hooks: Sequence[Hook]) -> None:
    """Everybody who wants to know of a record; none can keep the others from it."""

    def send_signal(record: UsageRecord) -> None:
        signals.stream_settled.send(app, record=record)

    with app.app_context():
        for hook in (*hooks, send_signal, log_usage):
            try:
                hook(record)
            except BaseException:  # also a sys.exit(), or a greenlet that is killed: the stream must come to its end
                logger.exception("%r failed for stream %s", hook, record.id)


def _take_defaults_from_environment(app: Flask) -> None:
    environment = Config(app.root_path)
    environment.from_prefixed_env(PREFIX.rstrip("_"))
    for name, value in environment.items():
        app.config.setdefault(PREFIX + name, value)


def _make_log_visible(format: str) -> None:
    """As Flask does for its own logger: the usage line is of no use where nobody sees it."""
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.INFO)
    if format == "json":
        _write_json()
    elif not has_level_handler(logger):
        logger.addHandler(default_handler)


def _write_json() -> None:
    """To the same place, and nowhere else: the host's handlers would write each line a second time."""
    logger.removeHandler(default_handler)
    logger.propagate = False
    if not any(isinstance(handler.formatter, JSONLines) for handler in logger.handlers):
        handler = logging.StreamHandler(cast(TextIO, wsgi_errors_stream))
        handler.setFormatter(JSONLines())
        logger.addHandler(handler)
