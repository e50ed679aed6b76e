"""Node.js for the tests of its clients: a Node that is new enough, and folders with pinned packages, kept in a cache.

    folder = node_folder("openai", ["openai@7.57.0"])
    assert run_node(folder, CLIENTS / "ask.mjs", server.url) == [{"text": "Hello"}]

Whoever uses the library needs none of this.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from .conftest import PATIENCE_S
from .conftest import missing
from .conftest import require

OLDEST = 22
NODE = f"node-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64'}@22.23.3"
HOME = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "flask-llm-stream-node"
INSTALL_S = 300

SCRIPTS = Path(__file__).parent / "clients"

LISTEN = """
import { createInterface } from "node:readline";
for await (const line of createInterface({ input: process.stdin })) {
    const [name, options] = JSON.parse(line);
    const answer = await commands[name](options).then((value) => ({ value }), (error) => ({ error: error.stack }));
    console.log(JSON.stringify(answer));
}
"""
"""Goes after a script that defines `commands`."""


@cache
def node() -> Path:
    """A Node of version 22 or newer: the machine's own, or one from npm."""
    found = shutil.which("node")
    if found and _major(found) >= OLDEST:
        return Path(found)
    return node_folder("node", [NODE]) / "node_modules" / NODE.partition("@")[0] / "bin" / "node"


def node_folder(name: str, packages: Sequence[str]) -> Path:
    """A folder whose `node_modules` holds `packages`, each given as `name@version`; installed once.

    Skips the test where they cannot be had.
    """
    pins = hashlib.sha256("\n".join(packages).encode()).hexdigest()[:12]
    folder = HOME / f"{name}-{pins}"
    if not folder.exists():
        npm = require("npm", "npm")
        with _only_one(folder):
            if not folder.exists():
                _install(npm, packages, folder)
    return folder


def run_node(folder: Path, script: Path, *args: str, within: float = 60) -> list[Any]:
    """Run an ES module that imports the packages of `folder`; what it prints, each line read as JSON."""
    command = [*_command(script.read_text()), script.name, *args]  # as a file that is run would see them
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=within)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class Node:
    """A Node process for many checks: the script defines `commands`, async functions of one object, by name.

    What is still going on after a command has returned goes on while Python does something else.
    """

    def __init__(self, folder: Path, script: Path) -> None:
        self._process = subprocess.Popen(
            _command(script.read_text() + LISTEN), cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, name: str, /, **options: Any) -> Any:
        """What the command returns; what it throws fails the test."""
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([name, options]) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"Node ended with {self._process.wait(PATIENCE_S)}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer.get("value")

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()


def _command(source: str) -> list[str]:
    """Packages are looked up from the working directory: the script itself need not be there."""
    return [str(node()), "--input-type=module", "--eval", source, "--"]


def _major(path: str) -> int:
    version = subprocess.run([path, "--version"], capture_output=True, text=True, check=True, timeout=30).stdout
    return int(version.removeprefix("v").partition(".")[0])


@contextmanager
def _only_one(folder: Path) -> Iterator[None]:
    """Other test runs wait here, and find the folder when it is their turn."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _install(npm: str, packages: Sequence[str], folder: Path) -> None:
    """Into a folder of another name first: one that is there is whole."""
    with tempfile.TemporaryDirectory(dir=HOME) as unfinished:
        made = Path(unfinished) / "folder"
        made.mkdir()
        (made / "package.json").write_text('{"private": true}')
        options = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error", "--fetch-retry-mintimeout=1000"]
        done = subprocess.run(
            [npm, "install", *options, *packages], cwd=made, capture_output=True, text=True, timeout=INSTALL_S
        )
        if done.returncode:
            missing(f"npm could not install {', '.join(packages)}: {done.stderr.strip()[-500:]}")
        made.rename(folder)
