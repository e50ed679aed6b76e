"""The accounts of an `LLMStream`: each stream's row, budget, usage record, hooks and telemetry."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any
from typing import Protocol

import msgspec

from .. import signals
from ..errors import ConfigError
from ..events import Usage
from ..ledger import ledgers
from ..settings import Settings
from ..upstream.ending import Ending
from ..usage.account import LostStream
from ..usage.account import account
from ..usage.bill import Bill
from ..usage.budget import BudgetOf
from ..usage.budget import Budgets
from ..usage.meter import Meter
from ..usage.record import UsageRecord
from ..usage.telemetry import Telemetry
from .answer import Answer
from .filled import outside
from .hooks import Hooks
from .hooks import call
from .stream import Stream


class App(Protocol):
    """The Flask app: hooks run in its context, and it is the sender of the signals."""

    def app_context(self) -> AbstractContextManager[Any]: ...


logger = logging.getLogger("llm_stream")


class Books:
    """The budgets, the ledger and the hooks of one `LLMStream` in one app."""

    def __init__(
        self,
        app: App,
        name: str,
        settings: Settings,
        hooks: Hooks,
        model: str,
        budget_of: BudgetOf | None,
    ) -> None:
        """Raises `ConfigError` if settings of the ledger or the budgets are wrong."""
        self.ledger = ledgers.of(settings.ledger_url) if settings.ledger_url else None
        self._app = app
        self._name = name
        self._settings = settings
        self._hooks = hooks
        self._telemetry = Telemetry.where_installed(content=settings.telemetry_content)
        self._budgets = Budgets(settings, budget_of, model) if settings.budgets or budget_of else None
        if self.ledger is not None:
            self.ledger.on_swept(name, self._publish_swept)
            if settings.is_shared:
                self.ledger.leave_to_others()
        elif self._budgets is not None:
            raise ConfigError(
                "A budget needs the ledger: set LLM_STREAM_LEDGER_URL, e.g. to sqlite:////var/lib/app/usage.db"
            )

    def open(self, stream: Stream) -> None:
        """Reserve the budget of a stream, write its row, and send the signal. Called before its producer starts.

        Raises `LedgerUnavailable` and `OverBudget`; then no signal is sent.
        """
        if self.ledger is not None:
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
                metadata=stream.metadata,
                reservation=reservation,
            )
        signals.announce(
            self._app, id=stream.id, owner=stream.owner, model=stream.model, metadata=dict(stream.metadata)
        )

    def settle(self, stream: Stream, ending: Ending) -> tuple[UsageRecord, Usage]:
        """Write the record of a stream that has ended, and call the hooks. Returns the record and the `usage` event."""
        was_read = stream.is_read
        record, bill = account(stream, ending, self._settings.prices)
        is_new = True
        if self.ledger is not None:
            charge = stream.meter.charge(bill) if stream.meter else None
            is_new = self.ledger.settle(record, was_read=was_read, charge=charge)
        if is_new:
            end = msgspec.structs.replace(ending, usage=bill.usage_event()).events()
            self._publish(record, lambda: Answer.of(stream, [*stream.log.events, *end], record), stream)
        return record, bill.usage_event()

    def settle_lost(self, lost: LostStream, record: UsageRecord, bill: Bill, currency: str | None) -> None:
        """Write the record of a dead worker's stream, and call the hooks.

        `lost` has all its events, including the end. `currency` is that of its budget reservation, if it has one.
        """
        is_new = True
        if self.ledger is not None:
            charge = self._budgets.charge(bill, currency) if self._budgets and currency else None
            is_new = self.ledger.settle_lost(record, charge)
        if is_new:
            self._publish(record, lambda: Answer.of(lost, lost.events, record))

    def _publish_swept(self, record: UsageRecord) -> None:
        """Called when the ledger has settled a dead worker's stream. The events were lost with the worker."""
        lost = LostStream(
            id=record.id,
            owner=record.owner,
            model=record.model,
            started=record.started,
            metadata=record.metadata,
        )
        self._publish(record, lambda: Answer.of(lost, (), record))

    def _publish(self, record: UsageRecord, make_answer: Callable[[], Answer], stream: Stream | None = None) -> None:
        """Tell telemetry, the hooks, the signal and the log, in this order.

        `stream` is None for a lost stream of another worker.
        """
        if self._telemetry is not None:
            self._telemetry.observe(record, stream)
        with outside(), self._app.app_context():
            self._hooks.call(record, make_answer)
            call(self._send_signal, lambda: record, record.id)
            call(log_usage, lambda: record, record.id)

    def _send_signal(self, record: UsageRecord) -> None:
        signals.stream_settled.send(self._app, record=record)


def log_usage(record: UsageRecord) -> None:
    """The default hook: one line per stream."""
    logger.info("%s", record)
