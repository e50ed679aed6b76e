"""The pages of the documentation, and the code blocks in them.

A Python block whose first line is `# app.py` begins that file. Blocks without such a line continue the file before
them, so a page may explain a file piece by piece.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Self

import pytest

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Site
from .conftest import eventually
from .ports import free_port

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[^\n`]*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"^(?:#|//|<!--) ([\w./-]+\.\w+)(?: -->)?$")
SUFFIXES = {"python": ".py", "js": ".js", "jsx": ".jsx", "html": ".html"}


@dataclass(frozen=True)
class Block:
    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The name that its first line gives."""
        found = FILE.match(self.text.partition("\n")[0])
        return found[1] if found else None


@dataclass(frozen=True)
class Page:
    path: Path

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def blocks(self) -> list[Block]:
        found = []
        for match in FENCE.finditer(self.text):
            line = self.text.count("\n", 0, match.start()) + 1
            indent = match["indent"]
            text = "".join(row.removeprefix(indent) for row in match["text"].splitlines(keepends=True))
            found.append(Block(match["language"], text, line))
        return found

    def block(self, language: str, holding: str = "") -> str:
        """The one block of the language that has this text in it."""
        (found,) = (block.text for block in self.blocks if block.language == language and holding in block.text)
        return found

    def blocks_of(self, language: str) -> list[str]:
        return [block.text for block in self.blocks if block.language == language]

    def files(self) -> dict[str, str]:
        """The text of each file that the page shows, by its name."""
        files: dict[str, str] = {}
        name = dict.fromkeys(SUFFIXES, "")
        for block in self.blocks:
            if block.language not in SUFFIXES:
                continue
            name[block.language] = block.file or name[block.language] or f"page{SUFFIXES[block.language]}"
            files[name[block.language]] = files.get(name[block.language], "") + block.text + "\n"
        return files

    def write(self, folder: Path) -> Path:
        """Write the files of the page into a folder."""
        for name, text in self.files().items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return folder

    @contextmanager
    def imported(self, folder: Path, file: str = "app.py") -> Iterator[ModuleType]:
        """The page's module. Its folder is the current one, and what it imports is forgotten afterwards."""
        self.write(folder)
        known = set(sys.modules)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.syspath_prepend(str(folder))
            name = Path(file).stem
            spec = importlib.util.spec_from_file_location(name, folder / file)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            try:
                spec.loader.exec_module(module)
                yield module
            finally:
                for other in set(sys.modules) - known:
                    if getattr(sys.modules[other], "__file__", None) and str(folder) in str(
                        sys.modules[other].__file__
                    ):
                        del sys.modules[other]


def page(name: str) -> Page:
    """A page by its path from the root of the repository."""
    return Page(ROOT / name)


def every_page() -> list[Page]:
    found = [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")]
    return [Page(path) for path in sorted(found) if "_build" not in path.parts and "node_modules" not in path.parts]


class Running(Site):
    """A server that a page starts: the page's own command, in the folder with the page's files."""

    def __init__(self, command: str, folder: Path, **environment: str) -> None:
        self.port = free_port()
        self._folder = folder
        self._log = folder / "server.log"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        self._environment |= {"OPENAI_API_KEY": "none", "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT), **environment}
        self._environment["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                shlex.split(self._here(command)),
                cwd=folder,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def __enter__(self) -> Self:
        try:
            eventually(self._listens, "the server's first connection")
        except BaseException:
            self._process.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(PATIENCE_S)

    def shell(self, command: str) -> str:
        """What a command of the page prints."""
        done = subprocess.run(
            ["sh", "-c", self._here(command)],
            cwd=self._folder,
            env=self._environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )
        return done.stdout

    def line(self, holding: str) -> str:
        """The first line of the log that has this in it, once it is there."""
        found = eventually(
            lambda: [line for line in self.log.splitlines() if holding in line], f"a line with {holding}"
        )
        return str(found[0])

    @property
    def log(self) -> str:
        return self._log.read_text()

    def _here(self, command: str) -> str:
        """The pages say port 8000; the test has a free one."""
        return command.replace(":8000", f":{self.port}")

    def _listens(self) -> bool:
        assert self._process.poll() is None, self.log
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0
