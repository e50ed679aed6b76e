"""The page on records: its tables are those of the code, and its SQL runs."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

from sqlalchemy import text

from llm_stream import UsageRecord
from llm_stream.ledger import schema
from llm_stream.ledger.database import Database
from llm_stream.usage.record import LONGEST

from .. import usage_rows
from ..pages import page
from ..usage_rows import row

PAGE = "docs/reference/records.md"
RUNS = {PAGE: ["sql"]}
TYPES = {"TEXT": "text", "BIGINT": "integer", "DOUBLE": "double", "DATETIME": "time", "BOOLEAN": "boolean"}


def table_under(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its head."""
    below = page(PAGE).text.partition(f"\n## {heading}\n")[2]
    rows = re.findall(r"(?:^\|.*\n)+", below, re.MULTILINE)[0].splitlines()[2:]
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", row)[1:-1]] for row in rows]


def test_fields_of_a_record_have_their_names_and_types_and_may_be_none_where_the_page_says_when() -> None:
    told = [(cells[0], cells[1], bool(cells[3])) for cells in table_under("`UsageRecord`")]
    kinds = [(f"`{field.name}`", str(field.type)) for field in fields(UsageRecord)]
    assert told == [(name, f"`{kind}`", "None" in kind) for name, kind in kinds]


def test_columns_of_the_ledger_are_those_of_the_table() -> None:
    told = [tuple(cells[:3]) for cells in table_under("The ledger's table")]
    kinds = {column.name: TYPES[str(column.type.compile()).split()[0]] for column in schema.usage.columns}
    assert told == [
        (f"`{column.name}`", kinds[column.name], "yes" if column.nullable else "no") for column in schema.usage.columns
    ]
    assert f"at most {LONGEST} characters" in page(PAGE).text


def test_every_table_of_the_ledger_is_named() -> None:
    assert {f"`{name}`" for name in schema.tables.tables} - {"`llm_stream_usage`"} == {
        cells[0] for cells in table_under("The other tables")
    }


def test_sql_of_the_page_adds_up_what_was_spent(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/usage.db"
    usage_rows.write(url, row(day="2026-11-02"), row(day="2026-11-03"), row(day="2026-10-31"))
    database = Database(url)
    rows = database.read(lambda connection: connection.execute(text(page(PAGE).block("sql"))).all())
    database.close()
    assert [tuple(found) for found in rows] == [("openai/gpt-4o-mini", "USD", 0.002, 2)]
