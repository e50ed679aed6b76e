"""`flask llm doctor`: the ledger, the log that workers share, and the clocks; with real databases and engines."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from llm_stream.ledger import file_system

from .conftest import ROOT
from .conftest import require
from .databases import PostgreSQLServer
from .doctored import demo
from .doctored import findings_of
from .doctored import opinion
from .ports import free_port
from .stores import StoreServer

MakeApp = Callable[..., Flask]


@pytest.fixture(scope="module")
def store() -> Iterator[StoreServer]:
    with StoreServer() as store:
        yield store


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    server = PostgreSQLServer()
    yield server.url("postgres")
    server.close()


@pytest.fixture(scope="module")
def shifted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a process whose clock is 100 seconds ahead."""
    library = tmp_path_factory.mktemp("clock") / "clock.so"
    command = [require("cc", "gcc"), "-O2", "-shared", "-fPIC", "-o", str(library), str(ROOT / "tests/clock.c")]
    subprocess.run(command, check=True)
    return {"LD_PRELOAD": str(library), "CLOCK_SHIFT_S": "100"}


# The ledger


def ledger_of(make_app: MakeApp, url: str) -> dict[str, str]:
    return opinion(make_app(ledger_url=url))["ledger"]


def test_ledger_that_can_be_opened_is_well(make_app: MakeApp, tmp_path: Path, postgresql: str) -> None:
    new = tmp_path / "new.db"
    assert ledger_of(make_app, f"sqlite:///{new}")["status"] == "ok"
    assert not new.exists()
    assert ledger_of(make_app, postgresql)["status"] == "ok"


def test_ledger_that_cannot_be_opened_is_told(make_app: MakeApp, tmp_path: Path) -> None:
    said = ledger_of(make_app, f"sqlite:///{tmp_path}/nowhere/usage.db")
    assert (said["status"], said["what"]) == (
        "error",
        f"The ledger cannot be opened: the folder {tmp_path}/nowhere does not exist.",
    )
    (tmp_path / "letter.db").write_text("This is no database, but a letter of some length. " * 9)
    assert "file is not a database" in ledger_of(make_app, f"sqlite:///{tmp_path}/letter.db")["what"]
    said = ledger_of(make_app, f"postgresql://me:sk-secret@127.0.0.1:{free_port()}/usage")
    assert "refused" in said["what"]
    assert "sk-secret" not in str(said)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere: run the tests as another user")
def test_ledger_that_may_not_be_written_is_told(make_app: MakeApp, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    assert "is not writable" in ledger_of(make_app, f"sqlite:///{locked}/usage.db")["what"]


@pytest.mark.parametrize("kind", ["nfs4", "cifs", "fuse.sshfs"])
def test_ledger_on_a_network_file_system_is_told(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    share, disk = tmp_path / "on the net", tmp_path / "on the net" / "disk"
    disk.mkdir(parents=True)
    mounts = tmp_path / "mounts"
    escaped = str(share).replace(" ", "\\040")
    mounts.write_text(
        f"/dev/vda / ext4 rw 0 0\nserver:/x {escaped} {kind} rw 0 0\n/dev/vdb {escaped}/disk ext4 rw 0 0\n"
    )

    def place_of(folder: Path) -> dict[str, str]:
        return opinion(make_app(ledger_url=f"sqlite:///{folder}/usage.db"), "--offline")["ledger-place"]

    assert place_of(share)["status"] == "ok", "the real mounts"
    monkeypatch.setattr(file_system, "MOUNTS", mounts)
    said = place_of(share)
    assert said["status"] == "error"
    assert f"network file system ({kind}): {share}/usage.db" in said["what"]
    assert place_of(disk)["status"] == place_of(tmp_path)["status"] == "ok"


# The log that workers share


def test_engine_that_is_set_up_well_is_well(make_app: MakeApp, store: StoreServer) -> None:
    said = opinion(make_app(log_url=store.url()))
    assert {said[name]["status"] for name in ("log", "eviction", "persistence", "clocks")} == {"ok"}
    assert not store.ask("KEYS", "*", database=1), "the doctor is no worker"


def test_engine_that_evicts_is_told(make_app: MakeApp, store: StoreServer) -> None:
    store.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    said = opinion(make_app(log_url=store.url()), status=1)["eviction"]
    store.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")
    assert (said["status"], said["what"]) == ("error", "The maxmemory-policy of Redis is allkeys-lru.")


def test_engine_that_keeps_nothing_is_worth_a_note(make_app: MakeApp, store: StoreServer) -> None:
    app = make_app(log_url=store.url(), prices={"scripted": {"input": "1", "output": "1"}})
    store.ask("CONFIG", "SET", "appendonly", "no")
    assert opinion(app, status=0)["persistence"]["status"] == "note"
    store.ask("CONFIG", "SET", "save", "3600 1")
    assert opinion(app)["persistence"]["status"] == "ok"
    store.ask("CONFIG", "SET", "save", "")
    store.ask("CONFIG", "SET", "appendonly", "yes")


def test_engine_that_tells_nothing_is_not_checked(make_app: MakeApp, store: StoreServer) -> None:
    store.ask("ACL", "SETUSER", "hosted", "on", ">pw", "~*", "&*", "+@all", "-info", "-config")
    host = store.url().replace("redis://", "redis://hosted:pw@")
    said = opinion(make_app(log_url=host))
    assert {said[name]["status"] for name in ("eviction", "persistence")} == {"not checked"}
    assert {said[name]["status"] for name in ("log", "clocks")} == {"ok"}


def test_engine_that_cannot_be_reached_is_told_once(make_app: MakeApp, caplog: pytest.LogCaptureFixture) -> None:
    said = opinion(make_app(log_url=f"redis://127.0.0.1:{free_port()}/0"), status=1)
    assert said["log"]["status"] == "error"
    assert "refused" in said["log"]["what"]
    assert {said[name]["status"] for name in ("eviction", "persistence", "clocks")} == {"not checked"}
    assert not caplog.records


# The clocks


def clocks_of(environment: dict[str, str]) -> dict[str, Any]:
    said: dict[str, Any] = findings_of(demo("--json", **environment))["clocks"]
    return said


def test_clocks_that_differ_are_told(store: StoreServer, postgresql: str, shifted: dict[str, str]) -> None:
    both = {"LLM_STREAM_LOG_URL": store.url(), "LLM_STREAM_LEDGER_URL": postgresql}
    assert clocks_of(both)["status"] == "ok"
    said = clocks_of(both | shifted)
    assert said["status"] == "warning"
    assert said["what"].count("100.0 s behind") + said["what"].count("99.9 s behind") == 2, said["what"]
    assert "the clock of Redis" in said["what"] and "the clock of PostgreSQL" in said["what"]
    ahead = clocks_of(both | shifted | {"CLOCK_SHIFT_S": "-50"})
    assert "s ahead" in ahead["what"]
