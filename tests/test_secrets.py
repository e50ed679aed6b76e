"""Where prompts and answers are kept, and where they are not."""

from __future__ import annotations

import ast
import re
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llm_stream.testing import Upstream

from .conftest import ROOT
from .conftest import Server
from .conftest import eventually
from .databases import SQLite
from .protocols import FORMS
from .stores import StoreServer

SECRET = "PROMPT-TEXT"
ANSWER = "ANSWER-TEXT"


def test_ledger_holds_no_prompt_and_no_answer(serve: Callable[..., Server], upstream: Upstream, tmp_path: Path) -> None:
    database = SQLite(tmp_path)
    server = serve(upstream, ledger_url=database.url)
    for path, form in FORMS.items():
        upstream.answer(ANSWER)
        server.post(path, **form([{"role": "user", "content": SECRET}]))
    eventually(lambda: len(database.rows("SELECT * FROM llm_stream_usage WHERE status = 'completed'")) == len(FORMS))
    server.stop()
    kept = b"".join(file.read_bytes() for file in tmp_path.glob(f"{database.path.name}*"))
    assert b"completed" in kept
    assert SECRET.encode() not in kept and ANSWER.encode() not in kept
    assert SECRET not in server.log and ANSWER not in server.log


def test_shared_log_holds_prompts_of_responses_only_and_only_if_they_are_stored(
    serve: Callable[..., Server], upstream: Upstream
) -> None:
    with StoreServer() as store:
        url = store.url()
        server = serve(upstream, log_url=url)
        for path, form in FORMS.items():
            upstream.answer("Hello")
            not_stored = {"store": False} if path.endswith("responses") else {}
            server.post(path, **form([{"role": "user", "content": SECRET}], **not_stored))
        assert SECRET.encode() not in everything_in(store, url)
        upstream.answer("Hello")
        server.post("/llm/v1/responses", input=SECRET)
        assert SECRET.encode() in everything_in(store, url)
        server.stop()


READING = {
    b"string": ("GET", ()),
    b"hash": ("HGETALL", ()),
    b"list": ("LRANGE", ("0", "-1")),
    b"zset": ("ZRANGE", ("0", "-1")),
    b"set": ("SMEMBERS", ()),
    b"stream": ("XRANGE", ("-", "+")),
}


def everything_in(store: StoreServer, url: str) -> bytes:
    """All keys and values, those in base64 also decoded."""
    database = int(url.rpartition("/")[2])
    keys: Any = store.ask("KEYS", "*", database=database)
    assert keys
    found = b""
    for key in keys:
        kind: Any = store.ask("TYPE", key, database=database)
        command, options = READING[kind]
        found += key + repr(store.ask(command, key, *options, database=database)).encode()
    encoded = re.findall(rb"[A-Za-z0-9+/]{40,}={0,2}", found)
    return found + b"".join(b64decode(each) for each in encoded if len(each) % 4 == 0)


def test_nothing_that_is_read_can_become_code() -> None:
    """Redis, the ledger and clients give JSON and columns, never pickles."""
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "yaml", "jsonpickle"}
    for path in (ROOT / "llm_stream").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.partition(".")[0] for name in names} & forbidden, path
            called = node.func.id if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ""
            assert called not in ("eval", "exec", "compile", "__import__"), path
