"""Another version of a library may have renamed what we use of its inside: then the portable way is taken, and said."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from flask import Flask
from openai import OpenAI

from llm_stream import LLMStream
from llm_stream.server import private
from llm_stream.testing import Upstream
from llm_stream.testing import read_events
from llm_stream.upstream import lifeline
from llm_stream.upstream import sdk

from .conftest import GUNICORN
from .conftest import ROOT
from .conftest import Server
from .conftest import eventually
from .conftest import text_of

Serve = Callable[..., Server]

RENAMED = [*GUNICORN[:-1], "tests.renamed:app"]
RENAMED_BY_WAITRESS = ["{bin}/waitress-serve", "--listen", "127.0.0.1:{port}", "tests.renamed:app"]
PACKAGE = ROOT / "llm_stream"

SAID = "this version of "

NAMES = [
    "server.gevent:hub",
    "server.gevent:_sock",
    "server.gevent:_read_event",
    "server.gunicorn:AsyncWorker.handle_request",
    "server.gunicorn:respiter",
    "server.gunicorn:resp",
    "server.gunicorn:sock",
    "server.gunicorn:chunked",
    "server.gunicorn:headers_sent",
    "server.gunicorn:response_length",
    "server.gunicorn:sent",
    "server.flask:stream_with_context.<locals>.generator",
    "server.flask:gen",
    "server.connection:socket",
]

CLIENTS = [
    (sdk, "HTTP_CLIENT"),
    (sdk, "DEFAULT_HTTP_CLIENT"),
    *((sdk, name) for name in sdk.CREDENTIALS),
    *((lifeline, name) for name in ("TRANSPORTS", "POOL", "BACKEND")),
]


@pytest.mark.parametrize("name", NAMES)
def test_stream_completes_without_a_private_name_and_one_line_says_so(
    upstream: Upstream, serve: Serve, name: str
) -> None:
    command = RENAMED_BY_WAITRESS if name.startswith("server.connection") else RENAMED
    server = serve(upstream, command=command, RENAMED=name)
    for _ in range(3):
        upstream.answer("Hel", "lo")
        assert text_of(server.events()) == "Hello"
    assert [record["status"] for record in server.records()] == ["completed"] * 3
    assert server.log.count("WARNING in private: ") == 1, server.log  # waitress writes the line again, in its own form
    assert name.partition(":")[2].removesuffix("_renamed") in server.log
    eventually(server.at_rest)


@pytest.mark.parametrize(("module", "name"), CLIENTS, ids=lambda part: getattr(part, "__name__", part))
def test_call_is_made_without_a_private_name_of_its_client(
    upstream: Upstream,
    make_app: Callable[..., Flask],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    module: Any,
    name: str,
) -> None:
    private._reported.clear()
    if name in sdk.CREDENTIALS:
        renamed = tuple(f"{each}_renamed" if each == name else each for each in sdk.CREDENTIALS)
        monkeypatch.setattr(module, "CREDENTIALS", renamed)
    else:
        known = getattr(module, name)
        monkeypatch.setattr(module, name, f"{known}_renamed" if isinstance(known, str) else ("_renamed", "_mounts"))
    own = httpx2.Client() if module is lifeline else None
    client = OpenAI(base_url=upstream.base_url, api_key="sk-secret", http_client=own)
    app = make_app(LLMStream("llm", __name__, model="scripted", client=client))
    for _ in range(3):
        upstream.answer("Hel", "lo")
        assert text_of(read_events(app.test_client().get("/llm/chat?prompt=hi").data)) == "Hello"
    assert caplog.text.count(SAID) == 1, caplog.text


def test_nothing_is_said_where_all_names_are_there(upstream: Upstream, serve: Serve) -> None:
    server = serve(upstream)
    upstream.answer("Hel", "lo")
    assert text_of(server.events()) == "Hello"
    assert SAID not in server.log


HOMES = {
    "server/gevent.py",
    "server/gunicorn.py",
    "server/flask.py",
    "upstream/sdk.py",
    "upstream/lifeline.py",
}


def private_names_in(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            found.add(node.attr)
    return found - {"_getframe"}  # of the standard library


def own_private_names() -> set[str]:
    own: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                own.add(node.attr)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                own.add(node.name)
    return own


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=str)
def test_private_names_of_other_libraries_stand_in_one_module_each(path: Path) -> None:
    foreign = private_names_in(path) - own_private_names()
    if str(path.relative_to(PACKAGE)) not in HOMES:
        assert not foreign
    else:  # and are looked for before they are used
        assert all(f'"{name}"' in path.read_text() for name in foreign)
