"""The layers of the package, and which way they import."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "llm_stream"

LAYERS = [
    {"testing"},
    {""},
    {"blueprint", "transforms", "worker"},
    {"web"},
    {"reports"},
    {"requests"},
    {"core"},
    {"ledger"},
    {"usage"},
    {"upstream"},
    {"wire"},
    {"server"},
    {"chat_request", "settings", "signals"},
    {"errors"},
    {"events"},
]
"""From the top; "" is the package itself. A layer imports only from lower layers, and no modules import each other."""

ONLY_HERE = {
    "flask": {"blueprint", "web"},
    "werkzeug": {"web"},
    "openai": {"blueprint", "web.service", "upstream"},
    "opentelemetry": {"usage.telemetry", "web.metrics"},
    "sqlalchemy": {"ledger", "reports"},
    "redis": {"core"},
    "icu4py": {"transforms"},
    "gevent": set(),
    "gunicorn": {"server.gunicorn_config"},  # only in the process that it starts to read a configuration
}


def name_of(path: Path) -> str:
    """`web.routes.native`; a package is named like its `__init__`."""
    return ".".join(path.relative_to(PACKAGE).parts).removesuffix(".py").removesuffix("__init__").removesuffix(".")


PATHS = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports(path: Path) -> set[str]:
    """What a file imports, also inside functions and for types only: its own package's as `layer.module`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").partition(".")[0])
        elif isinstance(node, ast.ImportFrom):
            base = name_of(path.parents[node.level - 1] / (node.module or "").replace(".", "/"))
            members = [f"{base}.{alias.name}".lstrip(".") for alias in node.names]
            found |= {member if member in PATHS else base for member in members}
    return found


MODULES = {name: imports(path) for name, path in PATHS.items()}


def layer_of(module: str) -> int:
    (row,) = (n for n, layers in enumerate(LAYERS) if module.partition(".")[0] in layers)
    return row


@pytest.mark.parametrize("module", MODULES)
def test_a_layer_imports_from_the_layers_below_it(module: str) -> None:
    assert not [other for other in MODULES[module] & set(PATHS) if layer_of(other) < layer_of(module)]


def test_no_modules_import_each_other() -> None:
    TopologicalSorter({name: found & set(PATHS) for name, found in MODULES.items()}).prepare()


@pytest.mark.parametrize("module", MODULES)
def test_frameworks_stay_in_their_rooms(module: str) -> None:
    for framework in MODULES[module] & set(ONLY_HERE):
        assert any(f"{module}.".startswith(f"{layer}.") for layer in ONLY_HERE[framework]), framework


def test_the_package_can_be_seen_at_a_glance() -> None:
    files = [path.relative_to(PACKAGE) for path in PACKAGE.rglob("*") if path.is_file()]
    entries = {path.parts[0] for path in files if "__pycache__" not in path.parts}  # a cache outlives its modules
    assert len(entries - {"__init__.py", "py.typed"}) <= 19


@pytest.mark.parametrize("path", [*PACKAGE.rglob("*.py"), ROOT / "wsgi.py"], ids=str)
def test_files_and_functions_are_small(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef) and node.name != "add_to":
            assert (node.end_lineno or 0) - node.lineno < 60, node.name
