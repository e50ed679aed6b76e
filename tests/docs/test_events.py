"""docs/reference/events.md: its fields and its example are what the native wire writes."""

from __future__ import annotations

import re
from typing import get_args

import msgspec

from llm_stream.events import KINDS
from llm_stream.events import Event
from llm_stream.events import Status
from llm_stream.events import UsageSource
from llm_stream.wire.native import NativeWire

from ..pages import page

RUNS: dict[str, list[str]] = {}

EVENTS = page("docs/reference/events.md")


def section(heading: str) -> str:
    return EVENTS.text.partition(f"## {heading}\n")[2].partition("\n## ")[0]


def fields_of_the_table() -> dict[str, dict[str, bool]]:
    """By event: each field, and whether it may be absent."""
    found: dict[str, dict[str, bool]] = {}
    events: list[str] = []
    for event, names, kind in re.findall(r"^\| (`.*?|) ?\| (`.*?) \| (.*?) \|", section("Fields"), re.MULTILINE):
        events = re.findall(r"`(\w+)`", event) or events
        for each in events:
            found.setdefault(each, {}).update(dict.fromkeys(re.findall(r"`(\w+)`", names), "?" in kind))
    return found


def fields_of(kind: type[Event]) -> dict[str, bool]:
    return {
        field.name: not field.required
        for field in msgspec.structs.fields(kind)
        if field.name not in ("cache_write_tokens", "created")  # never sent; always sent
    }


def test_table_of_events_has_every_event_with_its_attributes() -> None:
    overview = EVENTS.text.partition("## Fields")[0]
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| (.*?) \|", overview, re.MULTILINE)
    assert {type for type, _, _ in rows} == KINDS.keys()
    for type, name, attributes in rows:
        assert KINDS[type].__name__ == name
        unnamed = set(KINDS[type].__struct_fields__) - set(re.findall(r"`(\w+)`", attributes))
        assert unnamed <= {"cache_write_tokens"}, type  # never sent to readers


def test_table_of_fields_has_each_field_and_says_which_may_be_absent() -> None:
    told = fields_of_the_table()
    assert told["start"].pop("created") is False
    assert told == {name: fields_of(kind) for name, kind in KINDS.items()}


def test_example_is_what_the_native_wire_writes() -> None:
    (example,) = EVENTS.blocks_of("text")
    numbered = re.findall(r"^id: (\w+)-(\d+)\nevent: (\w+)\ndata: (.*)$", example, re.MULTILINE)
    events = [msgspec.json.decode(data, type=KINDS[name]) for _, _, name, data in numbered]
    wire = NativeWire()
    assert (wire.opening() + wire.encode(numbered[0][0], 1, events)).decode().strip() == example.strip()


def test_tables_have_every_status_and_every_source_of_counts() -> None:
    for heading, values in (("What a status means", Status), ("Where token counts come from", UsageSource)):
        rows = section(heading).partition("|---")[2]
        assert re.findall(r"^\| `(\w+)` \|", rows, re.MULTILINE) == list(get_args(values))
