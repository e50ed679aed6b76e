"""A Dockerfile without Docker: its instructions are carried out one by one, in folders that stand for the images."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT
from .conftest import missing

SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"


def instructions(dockerfile: str) -> list[tuple[str, str]]:
    """Without comments; continued lines are one."""
    lines = [line for line in dockerfile.splitlines() if line.strip() and not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", " ").splitlines()
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in joined)]


def python_for_all() -> str:
    """A Python that users other than root may run, too."""
    for python in (os.path.realpath(sys.executable), "/usr/bin/python3"):
        is_open = all(folder.stat().st_mode & 0o001 for folder in Path(python).parents)
        if is_open and subprocess.run([python, "-c", "import ensurepip"], capture_output=True).returncode == 0:
            return python
    missing("a Python that others than root may run is missing: apt-get install python3-venv")
    raise AssertionError


class Stage:
    """One `FROM`: an empty virtual environment is its Python, and a folder its root."""

    def __init__(self, root: Path, earlier: dict[str, Stage]) -> None:
        self.root = root
        self.earlier = earlier
        self.environment: dict[str, str] = {}
        self.folder = root
        self.user: int | None = None
        self.command: list[str] = []
        self.healthcheck: list[str] = []
        subprocess.run([python_for_all(), "-m", "venv", str(root / "python")], check=True)

    @property
    def whole_environment(self) -> dict[str, str]:
        return {**self.environment, "PATH": f"{self.root / 'python/bin'}:{SYSTEM_PATH}", "HOME": "/nonexistent"}

    def carry_out(self, name: str, rest: str) -> None:
        match name:
            case "WORKDIR":
                self.folder = self._place(rest)
                self.folder.mkdir(parents=True)
            case "ENV":
                self.environment |= dict(item.split("=", 1) for item in shlex.split(rest))
            case "COPY":
                self._copy(*rest.split())
            case "RUN":
                self._run(rest)
            case "USER":
                self.user = int(rest.partition(":")[0])
            case "HEALTHCHECK":
                self.healthcheck = json.loads(rest.partition("CMD ")[2])
            case "CMD":
                self.command = json.loads(rest)
            case _:
                assert name == "EXPOSE", name

    def _place(self, path: str) -> Path:
        return self.root / path.lstrip("/") if path.startswith("/") else self.folder / path

    def _copy(self, *names: str) -> None:
        *sources, target = names
        for source in sources:
            assert is_in_context(source), f"{source} is not in the build's context"
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, self._place(target), ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(path, self._place(target))

    def _run(self, rest: str) -> None:
        """Absolute paths are those of this stage, or of the stage that is mounted there."""
        roots = {}
        while rest.startswith("--mount="):
            mount, _, rest = rest.partition(" ")
            options = dict(option.split("=", 1) for option in mount.removeprefix("--mount=").split(","))
            assert options["source"] == options["target"]
            roots[options["target"]] = self.earlier[options["from"]].root
            rest = rest.strip()
        for path in set(re.findall(r"(?<![\w.:/])/\w+", rest)):
            rest = rest.replace(path, f"{roots.get(path, self.root)}{path}")
        if os.getuid() != 0:
            rest = rest.replace("10001", str(os.getuid()))
        environment = {**os.environ, **self.whole_environment}
        done = subprocess.run(["sh", "-c", rest], cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def is_in_context(source: str) -> bool:
    """What .dockerignore says: the last pattern that fits decides."""
    allowed = True
    for pattern in (ROOT / "deploy/Dockerfile.dockerignore").read_text().splitlines():
        if pattern and not pattern.startswith("#") and fnmatch.fnmatch(source, pattern.lstrip("!")):
            allowed = pattern.startswith("!")
    return allowed


def build(folder: Path) -> Stage:
    """The last stage, whose folder everybody can read."""
    stages: dict[str, Stage] = {}
    stage: Stage | None = None
    for name, rest in instructions((ROOT / "deploy/Dockerfile").read_text()):
        if name == "FROM":
            _, _, alias = rest.partition(" AS ")
            stage = stages[alias] = Stage(folder / (alias or "result"), dict(stages))
        else:
            assert stage is not None
            stage.carry_out(name, rest)
    assert stage is not None
    return stage
