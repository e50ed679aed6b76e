"""The tables of the ledger, and their migrations."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence
from datetime import UTC
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger
from sqlalchemy import Boolean
from sqlalchemy import Column
from sqlalchemy import Connection
from sqlalchemy import DateTime
from sqlalchemy import Dialect
from sqlalchemy import Double
from sqlalchemy import Index
from sqlalchemy import Integer
from sqlalchemy import MetaData
from sqlalchemy import Table
from sqlalchemy import Text
from sqlalchemy import delete
from sqlalchemy import func
from sqlalchemy import insert
from sqlalchemy import inspect
from sqlalchemy import select
from sqlalchemy import text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects import sqlite
from sqlalchemy.types import TypeDecorator

from ..errors import ConfigError


class UTCTime(TypeDecorator[datetime]):
    """Aware in Python, stored in UTC without a zone: SQLite has no zones, PostgreSQL converts to the session's."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        return None if value is None else value.replace(tzinfo=UTC)


tables = MetaData()

usage = Table(
    "llm_stream_usage",
    tables,
    Column("id", Text, primary_key=True),
    Column("llm", Text, nullable=False),  # the name of the LLMStream
    Column("worker", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("upstream_model", Text),
    Column("request_id", Text),  # the provider's
    Column("status", Text, nullable=False),  # a stream's, or RUNNING
    Column("source", Text),
    Column("finish_reason", Text),
    Column("error_code", Text),
    Column("error_id", Text),
    Column("input_tokens", BigInteger),
    Column("cached_tokens", BigInteger),
    Column("cache_write_tokens", BigInteger),
    Column("output_tokens", BigInteger),
    Column("reasoning_tokens", BigInteger),
    Column("cost", BigInteger),  # in FRACTIONS
    Column("currency", Text),
    Column("price_source", Text),
    Column("price_date", Text),
    Column("service_tier", Text),
    Column("ttft_s", Double),
    Column("duration_s", Double),
    Column("started", UTCTime, nullable=False),
    Column("ended", UTCTime),
    Column("day", Text, nullable=False),  # of `started`, in UTC
    Column("was_read", Boolean),  # whether it had a reader when it ended, if known
    Column("metadata", Text),  # the app's own, as JSON
    Index("llm_stream_usage_by_day", "day", "model"),
    Index("llm_stream_usage_by_owner", "owner", "day"),
    Index("llm_stream_usage_by_worker", "status", "worker"),
)

workers = Table(
    "llm_stream_workers",
    tables,
    Column("worker", Text, primary_key=True),
    Column("beat", UTCTime, nullable=False),  # the last renewal of its lease
)

budgets = Table(
    "llm_stream_budgets",
    tables,
    Column("owner", Text, primary_key=True),
    Column("period", Text, primary_key=True),  # 2026-11-22, or 2026-11
    Column("currency", Text, primary_key=True),
    Column("reserved", BigInteger, nullable=False, default=0),
    Column("spent", BigInteger, nullable=False, default=0),
)

reservations = Table(
    "llm_stream_reservations",
    tables,
    Column("id", Text, primary_key=True),  # the stream's
    Column("period", Text, primary_key=True),
    Column("owner", Text, nullable=False),
    Column("currency", Text, nullable=False),
    Column("amount", BigInteger, nullable=False),
)

usage_days = Table(
    "llm_stream_usage_days",
    tables,
    Column("day", Text, primary_key=True),  # a day that is over
    Column("streams", BigInteger, nullable=False),  # the sums are valid while the day has as many rows…
    Column("lost", BigInteger, nullable=False),  # …and as many rows settled for dead workers
    Column("sums", Text, nullable=False),
)

schema = Table("llm_stream_schema", tables, Column("version", Integer, nullable=False))

RUNNING = "running"
"""The status of a row that is not settled yet."""

INSERTS: dict[str, Any] = {"postgresql": postgresql.insert, "sqlite": sqlite.insert}
"""By dialect: an INSERT that has ON CONFLICT."""

MIGRATION_LOCK = 0x11A57


def _create(connection: Connection) -> None:
    tables.create_all(connection)


def _sum_days_anew(connection: Connection) -> None:
    """Drop the sums of version 1, which rounded amounts before it added them up.

    A worker that still runs version 1 cannot store its sums any more, because they lack `lost`.
    """
    usage_days.drop(connection, checkfirst=True)
    usage_days.create(connection)


def _add_metadata(connection: Connection) -> None:
    columns = {column["name"] for column in inspect(connection).get_columns(usage.name)}
    if "metadata" not in columns:  # the first step creates the tables as they are now
        connection.execute(text(f"ALTER TABLE {usage.name} ADD COLUMN metadata TEXT"))


STEPS: Sequence[Callable[[Connection], None]] = (_create, _sum_days_anew, _add_metadata)
"""To version 1, from 1 to 2, and so on. A released step must not be changed."""


def migrate(connection: Connection, steps: Sequence[Callable[[Connection], None]] = STEPS) -> None:
    """Migrate the tables to the latest version, in the caller's transaction. Raises `ConfigError` for a newer one.

    This does not use Alembic, which needs an environment in the host's project, where there may be another already.
    A version number is enough for a few tables that only this library changes.
    """
    if connection.dialect.name == "postgresql":  # on SQLite the write transaction is the lock
        connection.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
    version = version_of(connection)
    if version > len(steps):
        raise ConfigError(f"The ledger's tables have version {version}, and this library knows {len(steps)}: update.")
    for step in steps[version:]:
        step(connection)
    if version < len(steps):
        connection.execute(delete(schema))
        connection.execute(insert(schema).values(version=len(steps)))


def version_of(connection: Connection) -> int:
    """The version of the existing tables; 0 if there are none."""
    exists = inspect(connection).has_table(schema.name)
    return (connection.scalar(select(schema.c.version)) or 0) if exists else 0
