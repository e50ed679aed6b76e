"""Writes the tables of docs/reference that the code decides: the settings and the error codes.

    python docs/generate.py

A test fails where the pages are not what this would write.
"""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from llm_stream import errors  # noqa: E402
from llm_stream import settings  # noqa: E402
from llm_stream.errors import LLMStreamError  # noqa: E402
from llm_stream.settings import PREFIX  # noqa: E402
from llm_stream.settings import Settings  # noqa: E402


def settings_table() -> str:
    descriptions, comments = _descriptions(), _comments()
    parts, rows = [], [*HEAD]
    for field in fields(Settings):
        if (title := comments.get(field.name)) and len(rows) > len(HEAD):
            parts.append("\n".join(rows))
            rows = [*HEAD]
        if title:
            rows = [f"## {title.capitalize()}", "", *rows]
        rows.append(f"| `{PREFIX}{field.name.upper()}` | `{_default(field.name)}` | {descriptions[field.name]} |")
    return "\n\n".join([*parts, "\n".join(rows)])


HEAD = ("| setting | default | meaning |", "|---|---|---|")


def errors_table() -> str:
    refused = _table_of(errors.RequestError)
    ended = _table_of(errors.StreamError)
    return f"## Errors that refuse a request\n\n{refused}\n\n## Errors that end a stream\n\n{ended}"


def _table_of(base: type[LLMStreamError]) -> str:
    rows = ["| code | status | retryable | when | message |", "|---|---|---|---|---|"]
    for error in sorted([base, *_errors(base)], key=lambda error: (error.status, error.code)):
        retryable = "yes" if error.retryable else ""
        when = (inspect.getdoc(error) or "").replace("\n", " ")
        rows.append(f"| `{error.code}` | {error.status} | {retryable} | {when} | {error.message} |")
    return "\n".join(rows)


def page_of(name: str, table: str) -> str:
    """The page with the table in its place."""
    text = (HERE / "reference" / f"{name}.md").read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n\n{end}{after}"


def pages() -> dict[Path, str]:
    made = {"settings": settings_table(), "errors": errors_table()}
    return {HERE / "reference" / f"{name}.md": page_of(name, table) for name, table in made.items()}


def _descriptions() -> dict[str, str]:
    """The string below each field of `Settings`."""
    found, name = {}, ""
    for node in _body():
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            found[name] = " ".join(str(node.value.value).split())
    return found


def _comments() -> dict[str, str]:
    """The comment above the first field of each group."""
    lines = inspect.getsource(settings).splitlines()
    return {
        node.target.id: lines[node.lineno - 2].strip().removeprefix("# ")
        for node in _body()
        if isinstance(node, ast.AnnAssign)
        and isinstance(node.target, ast.Name)
        and lines[node.lineno - 2].strip().startswith("# ")
    }


def _body() -> list[ast.stmt]:
    tree = ast.parse(inspect.getsource(settings))
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Settings")
    return found.body


def _default(name: str) -> str:
    default = getattr(Settings(), name)
    return str(list(default) if isinstance(default, tuple) else default).replace("'", '"')


def _errors(base: type[LLMStreamError]) -> Iterator[type[LLMStreamError]]:
    """The classes of `llm_stream.errors`. Those of one wire are on its own page."""
    for error in base.__subclasses__():
        if error.__module__.startswith(errors.__name__):
            yield error
            yield from _errors(error)


def main() -> None:
    for path, text in pages().items():
        path.write_text(text)


if __name__ == "__main__":
    main()
