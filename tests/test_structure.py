"""The rooms of the house, and which way data may flow between them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "llm_stream"

FLASK_SIDE = {"__init__", "blueprint", "response", "access", "cli", "registration", "state"}
FLASK_ROOM = "routes/"
MAY_IMPORT_OPENAI = {"blueprint", "upstream/client", "upstream/endpoint", "upstream/refusals", "upstream/sdk"}

ORDER = [
    {"__init__"},
    {"testing/__init__", "testing/__main__"},
    {"testing/upstream"},
    {"testing/stand_in"},
    {"testing/script", "testing/reading"},
    {"blueprint", "cli", "worker"},
    {"routes/__init__"},
    {"routes/native", "routes/openai", "routes/ui", "routes/agui", "routes/usage", "routes/unrouted"},
    {"routes/body", "routes/aborted", "routes/conversation", "routes/origins"},
    {"routes/address"},
    {"reports/commands"},
    {"reports/page"},
    {"reports/chart", "reports/export", "reports/reconcile"},
    {"reports/report"},
    {"reports/days"},
    {"reports/filters", "reports/receipts"},
    {"state"},
    {"response", "access", "books", "part", "registration"},
    {"signals"},
    {"streams", "telemetry"},
    {"readers"},
    {"reader"},
    {"wire/openai"},
    {"wire/__init__", "wire/sse", "wire/native", "wire/text", "wire/ui", "wire/agui", "wire/answer"},
    {"stream"},
    {"producer"},
    {"ledger/ledgers"},
    {"ledger/ledger"},
    {"ledger/lease", "ledger/writer", "ledger/reservations"},
    {"ledger/database"},
    {"ledger/rows"},
    {"ledger/schema"},
    {"usage/account", "usage/meter"},
    {"guard"},
    {"upstream/iterator"},
    {"upstream/sdk", "upstream/answers"},
    {"upstream/completion"},
    {"upstream/call"},
    {"upstream/client"},
    {"upstream/endpoint", "upstream/chunks"},
    {"upstream/payloads", "upstream/figures", "upstream/tool_calls"},
    {"upstream/transport"},
    {"upstream/connection"},
    {"upstream/lifeline", "upstream/sse", "upstream/http1"},
    {"upstream/refusals"},
    {"upstream/error_objects", "upstream/json_values", "upstream/text"},
    {"usage/bill", "usage/budget"},
    {"usage/price", "usage/estimate", "log_lines"},
    {"usage/record"},
    {"requests/openai", "requests/ui", "requests/agui"},
    {"requests/messages"},
    {"requests/__init__"},
    {"chat_request", "log/memory", "ending"},
    {"source"},
    {"settings", "sockets", "greenlets", "statuses"},
    {"errors/__init__"},
    {"errors/request", "errors/stream"},
    {"errors/base"},
    {"events"},
]
"""A module imports from its own row and the rows below it only."""

STANDS_ALONE = {f"{room}/__init__" for room in ("upstream", "usage", "ledger", "reports", "log")}


def name_of(path: Path) -> str:
    return str(path.relative_to(PACKAGE).with_suffix(""))


def imports(path: Path) -> set[str]:
    """The modules that a file imports when it runs, its own package's as `room/module`."""
    tree = ast.parse(path.read_text())
    found = set()
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            skipped.update(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            folder = path.parents[node.level - 1]
            for alias in node.names:
                target = folder / (node.module or "").replace(".", "/")
                member = target / alias.name
                candidates = [member.with_suffix(".py"), member / "__init__.py"]
                candidates += [target.with_suffix(".py"), target / "__init__.py"]
                found.add(name_of(next(path for path in candidates if path.exists())))
    return found


MODULES = {name_of(path): imports(path) for path in PACKAGE.rglob("*.py")}


def test_every_module_has_its_place() -> None:
    rows = [module for row in ORDER for module in row]
    assert len(rows) == len(set(rows))
    assert set(rows) | STANDS_ALONE == set(MODULES)


@pytest.mark.parametrize("module", MODULES)
def test_data_flows_one_way(module: str) -> None:
    if module in STANDS_ALONE:
        assert not MODULES[module] & set(MODULES)
        return
    (row,) = (n for n, modules in enumerate(ORDER) if module in modules)
    above = {other for modules in ORDER[:row] for other in modules}
    assert not MODULES[module] & above


@pytest.mark.parametrize("module", MODULES)
def test_frameworks_stay_in_their_rooms(module: str) -> None:
    if module not in FLASK_SIDE and not module.startswith(FLASK_ROOM):
        assert not MODULES[module] & {"flask", "werkzeug"}
    if module not in MAY_IMPORT_OPENAI:
        assert "openai" not in MODULES[module]
    if module != "telemetry":
        assert "opentelemetry" not in MODULES[module]
    assert not MODULES[module] & {"gevent", "gunicorn"}


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), ROOT / "wsgi.py"], ids=str)
def test_files_and_functions_are_small(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name != "add_to":
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
