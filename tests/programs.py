"""Programs of other people's clients, which run in an environment of their own: `.venv-clients`, made by the Makefile.

client = Program("litellm_client")
assert client("complete", url=server.url) == {"text": "Hello"}
"""

from __future__ import annotations

import json
import os
import subprocess
from typing import Any

from .conftest import PATIENCE_S
from .conftest import ROOT
from .conftest import missing

PYTHON = ROOT / ".venv-clients" / "bin" / "python"
READY = ROOT / ".venv-clients" / "ready"
FOLDER = ROOT / "tests" / "clients" / "programs"

ENVIRONMENT = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # else it is fetched
    "OPENAI_AGENTS_DISABLE_TRACING": "1",  # else traces are sent
    "PYTHONUNBUFFERED": "1",
}


class Program:
    """A process for many checks, since the imports take seconds. The module's functions are its commands."""

    def __init__(self, module: str, **environment: str) -> None:
        if not READY.exists():
            missing("the clients are missing: make .venv-clients/ready")
        ours = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
        self._process = subprocess.Popen(
            [PYTHON, "-m", "commands", module],
            cwd=FOLDER,
            env=ours | ENVIRONMENT | environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command: str, /, **options: Any) -> Any:
        """What the command returns; what it raises fails the test."""
        self.begin(command, **options)
        return self.ended()

    def begin(self, command: str, /, **options: Any) -> None:
        """Let the command run while the test does something else, until `ended()`."""
        assert self._process.stdin
        self._process.stdin.write(json.dumps([command, options]) + "\n")
        self._process.stdin.flush()

    def ended(self) -> Any:
        assert self._process.stdout
        line = self._process.stdout.readline()
        assert line, f"the program ended with {self._process.wait(PATIENCE_S)}"
        answer = json.loads(line)
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def close(self) -> None:
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
