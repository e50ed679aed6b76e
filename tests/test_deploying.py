"""docs/guides/deploying.md: its commands name files that exist, and its figures are those of the files."""

from __future__ import annotations

import re
import shlex

from .conftest import ROOT
from .deployed import DEPLOY
from .deployed import documents
from .deployed import graceful_timeout

PAGE = (ROOT / "docs/guides/deploying.md").read_text()
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [shlex.split(line, comments=True) for block in BLOCKS for line in block.splitlines()]
TABLE = re.search(
    r"\| Docker, Compose, systemd \| (\d+) s.*\| (\d+) s.*\n\| Kubernetes \| (\d+) s \| (\d+) s.* (\d+) \|", PAGE
)
OF_THE_READER = {"deploy/.env"}


def test_commands_name_files_that_exist() -> None:
    assert len(COMMANDS) == 14
    words = {word for command in COMMANDS for word in command}
    files = {word for word in words if word.startswith("deploy/") or re.fullmatch(r"\w[\w.]*\.(py|txt|toml|md)", word)}
    assert {file for file in files if not (ROOT / file).exists()} <= OF_THE_READER
    assert {"deploy/Dockerfile", "deploy/compose.yaml", "deploy/kubernetes.yaml", "deploy/llm.service"} <= words | {
        option.removeprefix("--from-env-file=") for option in words
    }


def test_what_is_copied_for_systemd_is_what_the_image_has() -> None:
    (copied,) = (command[3:-1] for command in COMMANDS if command[:3] == ["sudo", "cp", "-r"])
    lines = re.findall(r"^COPY (.*) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert set(copied) == {name for line in lines for name in line.split()}


def test_figures_are_those_of_the_files() -> None:
    assert TABLE
    waits, platform, in_pod, grace, pre_stop = (int(figure) for figure in TABLE.groups())
    assert waits == graceful_timeout()
    assert f"TimeoutStopSec={platform}" in (DEPLOY / "llm.service").read_text()
    assert f"--stop-timeout {platform}" in PAGE
    pod = documents("kubernetes.yaml")[0]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert grace == pod["terminationGracePeriodSeconds"]
    assert {"name": "GRACEFUL_TIMEOUT", "value": str(in_pod)} in container["env"]
    assert container["lifecycle"]["preStop"]["exec"]["command"] == ["sleep", str(pre_stop)]


def test_secret_needs_what_the_example_has() -> None:
    names = set(re.findall(r"^(\w+)=", (DEPLOY / "example.env").read_text(), re.MULTILINE))
    assert {"OPENAI_API_KEY", "LLM_STREAM_LOG_URL", "LLM_STREAM_LEDGER_URL", "POSTGRES_PASSWORD"} <= names
